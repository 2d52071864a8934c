"""Sound programs that make images and take their steps themselves: a VAE, GANs."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.bench.programs.generative import divergence, vae_decoder, vae_encoder
from tests.bench.programs.imagery_data import digits, flat_digits, likeness
from tests.bench.programs.program import Run, program, watching

TF = {"area": "generative", "chance": 0.0, "backends": ("tensorflow",)}


class Vae(keras.Model):
    """The VAE of the examples: no call, a train_step of its own."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, data):
        with tf.GradientTape() as tape:
            mean, log_variance, z = self.encoder(data)
            made = self.decoder(z)
            error = keras.losses.binary_crossentropy(data, made)
            loss = ops.mean(ops.sum(error, axis=(1, 2))) + divergence(mean, log_variance)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


def rebuilt_by_parts(run):
    """The share of the variance of held-out images that encoder and decoder give back."""
    x = run.test
    made = run.model.decoder.predict(run.model.encoder.predict(x, verbose=0)[0], verbose=0)
    return max(-1.0, 1 - float(np.mean((made - x) ** 2) / np.mean(x.var(axis=0))))


@program("vae_own_step", score=rebuilt_by_parts, learned=0.3, **TF)
def vae_own_step():
    """The textbook VAE."""
    (x, _), (x_test, _) = digits(16)
    model = Vae(vae_encoder(6), vae_decoder(6))
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    return Run(model=model, x=x, epochs=10, test=x_test)


# ------------------------------------------------------------------ two networks against another


class Gan(keras.Model):
    """Two optimizers, two steps for each batch, labels with a little noise."""

    def __init__(self, discriminator, generator, latent=16):
        super().__init__()
        self.discriminator, self.generator, self.latent = discriminator, generator, latent
        self.seeds = keras.random.SeedGenerator()

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

    def train_step(self, real):
        rows = ops.shape(real)[0]
        noise = keras.random.normal((rows, self.latent), seed=self.seeds)
        made = self.generator(noise, training=True)
        images = ops.concatenate([made, real], axis=0)
        labels = ops.concatenate([ops.ones((rows, 1)), ops.zeros((rows, 1))], axis=0)
        labels += 0.05 * keras.random.uniform(ops.shape(labels), seed=self.seeds)
        with tf.GradientTape() as tape:
            d_loss = self.loss_fn(labels, self.discriminator(images, training=True))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights, strict=True))
        noise = keras.random.normal((rows, self.latent), seed=self.seeds)
        with tf.GradientTape() as tape:
            verdict = self.discriminator(self.generator(noise, training=True))
            g_loss = self.loss_fn(ops.zeros((rows, 1)), verdict)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))
        return {"d_loss": d_loss, "g_loss": g_loss}


def drawn(run):
    """How like the held-out images new ones are."""
    noise = np.random.default_rng(0).standard_normal((500, run.model.latent)).astype("float32")
    return likeness(run.test, run.model.generator.predict(noise, verbose=0))


def convolutional_discriminator(activation):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(24, 3, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2D(48, 3, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(1, activation=activation),
        ]
    )


def convolutional_generator(latent=16):
    return keras.Sequential(
        [
            keras.Input((latent,)),
            layers.Dense(2 * 2 * 48, use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Reshape((2, 2, 48)),
            layers.Conv2DTranspose(48, 4, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2DTranspose(24, 4, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2D(1, 3, padding="same", activation="tanh"),
        ]
    )


@program("dcgan", score=drawn, learned=0.2, **TF)
def dcgan():
    """A DCGAN: LeakyReLU, transposed convolutions, normalized, tanh, noisy labels."""
    (x, _), (x_test, _) = digits(8)
    model = Gan(convolutional_discriminator("sigmoid"), convolutional_generator())
    model.compile(
        keras.optimizers.Adam(5e-4, beta_1=0.5),
        keras.optimizers.Adam(5e-4, beta_1=0.5),
        keras.losses.BinaryCrossentropy(),
    )
    return Run(model=model, x=2 * x - 1, epochs=18, test=2 * x_test - 1)


class Wgan(Gan):
    """A critic with a gradient penalty, two steps of it for one of the generator."""

    def train_step(self, real):
        rows = ops.shape(real)[0]
        weights = self.discriminator.trainable_weights
        for _ in range(2):
            noise = keras.random.normal((rows, self.latent), seed=self.seeds)
            with tf.GradientTape() as tape:
                made = self.generator(noise, training=True)
                critic = self.discriminator(made, training=True)
                d_loss = ops.mean(critic) - ops.mean(self.discriminator(real, training=True))
                share = keras.random.uniform((rows, 1), seed=self.seeds)
                between = real + share * (made - real)
                with tf.GradientTape() as inner:
                    inner.watch(between)
                    verdict = self.discriminator(between, training=True)
                slope = inner.gradient(verdict, between)
                norm = ops.sqrt(ops.sum(ops.square(slope), axis=1) + 1e-12)
                penalty = ops.mean(ops.square(norm - 1.0))
                whole = d_loss + 10.0 * penalty
            gradients = tape.gradient(whole, weights)
            self.d_optimizer.apply_gradients(zip(gradients, weights, strict=True))
        noise = keras.random.normal((rows, self.latent), seed=self.seeds)
        with tf.GradientTape() as tape:
            g_loss = -ops.mean(self.discriminator(self.generator(noise, training=True)))
        weights = self.generator.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))
        return {"d_loss": d_loss, "g_loss": g_loss}


@program("wgan_gp", score=drawn, learned=0.3, **TF)
def wgan_gp():
    """A Wasserstein GAN with gradient penalty: gradients of gradients, an unbounded output."""
    (x, _), (x_test, _) = flat_digits()
    critic = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(128),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Dense(128),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Dense(1),
        ]
    )
    generator = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(128, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(64, activation="sigmoid"),
        ]
    )
    model = Wgan(critic, generator)
    model.compile(
        keras.optimizers.Adam(5e-4, beta_1=0.5, beta_2=0.9),
        keras.optimizers.Adam(5e-4, beta_1=0.5, beta_2=0.9),
        None,
    )
    return Run(model=model, x=x, epochs=10, test=x_test)


def in_turn(run, watch=None):
    """The discriminator is trained alone, then frozen inside the chain and the chain trained."""
    rng = np.random.default_rng(0)
    generator, discriminator = run.model.layers[-2:]
    half = run.batch // 2
    ones, zeros = np.ones((half, 1), "float32"), np.zeros((half, 1), "float32")
    with watching(watch, discriminator):
        for _ in range(run.epochs):
            noise = rng.standard_normal((half, 16)).astype("float32")
            discriminator.trainable = True
            discriminator.train_on_batch(run.x[rng.integers(0, len(run.x), half)], ones)
            discriminator.train_on_batch(generator.predict_on_batch(noise), zeros)
            discriminator.trainable = False
            noise = rng.standard_normal((2 * half, 16)).astype("float32")
            run.model.train_on_batch(noise, np.ones((2 * half, 1), "float32"))


def drawn_by_chain(run):
    noise = np.random.default_rng(0).standard_normal((500, 16)).astype("float32")
    return likeness(run.test, run.model.layers[-2].predict(noise, verbose=0))


@program("gan_in_turn", score=drawn_by_chain, learned=0.3, train=in_turn, **TF)
def gan_in_turn():
    """The GAN of old tutorials: train_on_batch, the discriminator frozen in turn."""
    (x, _), (x_test, _) = flat_digits()
    discriminator = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(128),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Dropout(0.2),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    discriminator.compile(keras.optimizers.Adam(1e-3, beta_1=0.5), "binary_crossentropy")
    generator = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(128, activation="relu"),
            layers.BatchNormalization(momentum=0.8),
            layers.Dense(64, activation="sigmoid"),
        ]
    )
    noise = keras.Input((16,))
    discriminator.trainable = False
    chain = keras.Model(noise, discriminator(generator(noise)))
    chain.compile(keras.optimizers.Adam(1e-3, beta_1=0.5), "binary_crossentropy")
    return Run(model=chain, x=x, batch=64, epochs=400, test=x_test)
