"""What callbacks of this kind do elsewhere: a second forward and backward pass a step.

Compiled where the backend compiles, and no more than gradient norms are taken of it: the
cheapest form of the habit.
"""

import importlib

import keras


class SecondPass(keras.callbacks.Callback):
    """Gradient norms of every variable, on a batch of its own, after each step."""

    def __init__(self, endless):
        super().__init__()
        self.batches = endless()
        self.norms = None

    def on_train_begin(self, logs=None):
        if self.norms is None:
            self.norms = globals()[f"_{keras.backend.backend()}"](self.model)

    def on_train_batch_end(self, batch, logs=None):
        self.norms(*next(self.batches))


def _tensorflow(model):
    tf = importlib.import_module("tensorflow")

    @tf.function(reduce_retracing=True)
    def norms(x, y):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        return tf.stack([tf.norm(tf.convert_to_tensor(g)) for g in gradients])

    return lambda x, y: norms(tf.constant(x), tf.constant(y)).numpy()


def _jax(model):
    jax = importlib.import_module("jax")

    def loss_of(weights, others, x, y):
        y_pred, others = model.stateless_call(weights, others, x, training=True)
        return model.compute_loss(x, y, y_pred), others

    @jax.jit
    def norms(weights, others, x, y):
        gradients, _ = jax.grad(loss_of, has_aux=True)(weights, others, x, y)
        return jax.numpy.stack([jax.numpy.linalg.norm(g.reshape(-1)) for g in gradients])

    def take(x, y):
        model.jax_state_sync()  # between batches the variables have no values
        weights = [v.value for v in model.trainable_variables]
        others = [v.value for v in model.non_trainable_variables]
        return jax.device_get(norms(weights, others, x, y))

    return take


def _torch(model):
    torch = importlib.import_module("torch")

    def norms(x, y):
        x, y = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)
        weights = [v.value for v in model.trainable_variables]
        gradients = torch.autograd.grad(model.compute_loss(x, y, model(x, training=True)), weights)
        return torch.stack([g.norm() for g in gradients]).numpy()

    return norms
