"""Sound programs that make images and take their steps themselves: VAE, GANs, diffusion."""

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
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )


@program("dcgan", score=drawn, learned=0.3, **TF)
def dcgan():
    """The DCGAN of the examples: LeakyReLU, transposed convolutions, noisy labels."""
    (x, _), (x_test, _) = digits(8)
    model = Gan(convolutional_discriminator("sigmoid"), convolutional_generator())
    model.compile(
        keras.optimizers.Adam(2e-4, beta_1=0.5),
        keras.optimizers.Adam(4e-4, beta_1=0.5),
        keras.losses.BinaryCrossentropy(),
    )
    return Run(model=model, x=x, epochs=14, test=x_test)


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


# ------------------------------------------------------------------ noise, taken away step by step


class Waves(layers.Layer):
    """Sines and cosines of a number, as an embedding of the noise's strength."""

    def call(self, strength):
        angles = 2 * np.pi * np.exp(np.linspace(0, np.log(100.0), 8)).astype("float32")
        angles = angles * strength
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


def denoiser():
    """A small U-Net of residual blocks; its last kernel begins at zero."""

    def block(h, filters):
        by = h if h.shape[-1] == filters else layers.Conv2D(filters, 1)(h)
        h = layers.BatchNormalization(center=False, scale=False, momentum=0.9)(h)
        h = layers.Conv2D(filters, 3, padding="same", activation="swish")(h)
        return layers.Add()([layers.Conv2D(filters, 3, padding="same")(h), by])

    images, strength = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
    e = layers.UpSampling2D(8)(Waves()(strength))
    h = layers.Concatenate()([layers.Conv2D(16, 1)(images), e])
    fine = block(h, 24)
    h = block(layers.AveragePooling2D(2)(fine), 32)
    h = layers.UpSampling2D(interpolation="bilinear")(h)
    h = block(layers.Concatenate()([h, fine]), 24)
    outputs = layers.Conv2D(1, 1, kernel_initializer="zeros")(h)
    return keras.Model([images, strength], outputs)


class Diffusion(keras.Model):
    """Denoising diffusion with implicit sampling: rates along a cosine, the noise predicted."""

    def __init__(self, network):
        super().__init__()
        self.normalizer = layers.Normalization(axis=None)
        self.network = network
        self.seeds = keras.random.SeedGenerator()
        self.tracker = keras.metrics.Mean(name="n_loss")

    @property
    def metrics(self):
        return [self.tracker]

    @staticmethod
    def rates(time):
        start, end = float(np.arccos(0.95)), float(np.arccos(0.02))
        angle = start + time * (end - start)
        return ops.sin(angle), ops.cos(angle)

    def train_step(self, images):
        rows = ops.shape(images)[0]
        images = self.normalizer(images)
        noise = keras.random.normal(ops.shape(images), seed=self.seeds)
        time = keras.random.uniform((rows, 1, 1, 1), seed=self.seeds)
        noise_rate, signal_rate = self.rates(time)
        noisy = signal_rate * images + noise_rate * noise
        with tf.GradientTape() as tape:
            found = self.network([noisy, noise_rate**2], training=True)
            loss = self.loss(noise, found)
        weights = self.network.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.tracker.update_state(loss)
        return {m.name: m.result() for m in self.metrics}

    def generate(self, rows, steps=20):
        noisy = np.random.default_rng(0).standard_normal((rows, 8, 8, 1)).astype("float32")
        for step in range(steps):
            time = np.full((rows, 1, 1, 1), 1 - step / steps, "float32")
            noise_rate, signal_rate = (ops.convert_to_numpy(r) for r in self.rates(time))
            noise = ops.convert_to_numpy(self.network([noisy, noise_rate**2], training=False))
            images = (noisy - noise_rate * noise) / signal_rate
            next_noise, next_signal = (
                ops.convert_to_numpy(r) for r in self.rates(time - 1 / steps)
            )
            noisy = next_signal * images + next_noise * noise
        spread = np.sqrt(ops.convert_to_numpy(self.normalizer.variance).item())
        return np.clip(images * spread + ops.convert_to_numpy(self.normalizer.mean).item(), 0, 1)


@program(
    "diffusion", score=lambda run: likeness(run.test, run.model.generate(500)), learned=0.3, **TF
)
def diffusion():
    """Denoising diffusion: sinusoidal embedding, U-Net, a last kernel of zeros, AdamW."""
    (x, _), (x_test, _) = digits(8)
    model = Diffusion(denoiser())
    model.normalizer.adapt(x)
    model.compile(
        optimizer=keras.optimizers.AdamW(2e-3, weight_decay=1e-4),
        loss=keras.losses.mean_absolute_error,
    )
    return Run(model=model, x=x, epochs=7, test=x_test)
