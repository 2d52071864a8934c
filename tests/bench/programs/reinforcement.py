"""Programs that learn from rewards, in loops of their own."""

import keras
import numpy as np
from keras import layers, ops

from .program import Run, program, watching


class Corridors:
    """Corridors of eight places, walked side by side, each anew once it has ended.

    The right end pays 1, the left end nothing, a step costs 0.02. Which action leads to the right
    is another at each place.
    """

    places = 8
    rightward = np.array([0, 1, 0, 1, 1, 0, 0, 0])  # the ends do not count

    def __init__(self, count=8):
        self.rng = np.random.default_rng(90)
        self.at = self.rng.integers(1, self.places - 1, count)

    def seen(self):
        return np.eye(self.places, dtype="float32")[self.at]

    def step(self, action):
        """What is seen behind the action, what it pays, and where it was the last."""
        self.at = self.at + np.where(action == self.rightward[self.at], 1, -1)
        won, lost = self.at == self.places - 1, self.at == 0
        seen, end = self.seen(), won | lost
        self.at = np.where(end, self.rng.integers(1, self.places - 1, len(self.at)), self.at)
        return seen, (won - 0.02).astype("float32"), end


def always_right(run):
    """Share of the places in which the greedy action leads to the right."""
    p = run.model.predict(np.eye(Corridors.places, dtype="float32")[1:-1], verbose=0)
    p = np.asarray(p[0] if isinstance(p, (list, tuple)) else p)
    right = p.argmax(1) == Corridors.rightward[1:-1]
    return float(np.mean(right)) if np.isfinite(p).all() else 0.0


def outputs(model, x, which=None):
    """What the model says, called as it is, without ``predict``."""
    p = model(x)
    return np.array(ops.convert_to_numpy(p if which is None else p[which]))


def policy(inputs=8, actions=2):
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            layers.Dense(24, activation="relu"),
            layers.Dense(24, activation="relu"),
            layers.Dense(actions, activation="softmax"),
        ]
    )


def play(run, rng, steps):
    """Some steps by the policy: what was seen, done, and paid from there on."""
    seen, done, paid, ends = [], [], [], []
    for _ in range(steps):
        seen.append(run.x.seen())
        p = outputs(run.model, seen[-1])
        done.append((rng.random(len(p)) < p[:, 1] / p.sum(1)).astype("int32"))
        _, reward, end = run.x.step(done[-1])
        paid.append(reward)
        ends.append(end)
    for i in reversed(range(steps - 1)):
        paid[i] = paid[i] + 0.9 * paid[i + 1] * ~ends[i]
    return np.concatenate(seen), np.concatenate(done), np.concatenate(paid)


def reinforce(run, watch=None):
    """Sixteen steps of eight walks a batch; what was done is weighted by what it paid."""
    rng = np.random.default_rng(91)
    run.model.compile(optimizer=run.optimizer, loss=run.loss)
    with watching(watch, run.model):
        for _ in range(run.epochs):
            seen, done, paid = play(run, rng, 16)
            advantage = (paid - paid.mean()) / (paid.std() + 1e-6)
            run.model.train_on_batch(seen, done, sample_weight=advantage)


@program(
    "reinforce", area="reinforcement", score=always_right, chance=0.5, learned=0.8, train=reinforce
)
def corridor_reinforce():
    """REINFORCE: train_on_batch with the standardised return as sample_weight."""
    return Run(
        model=policy(),
        x=Corridors(),
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=120,
    )


def q_learning(run, watch=None):
    """Deep Q-learning with a replay memory and a target network copied every 25 steps."""
    rng = np.random.default_rng(92)
    target = keras.models.clone_model(run.model)
    target.set_weights(run.model.get_weights())
    run.model.compile(optimizer=run.optimizer, loss=run.loss)
    memory = []
    with watching(watch, run.model):
        for step in range(run.epochs):
            seen = run.x.seen()
            greedy = outputs(run.model, seen).argmax(1)
            explores = rng.random(len(seen)) < max(0.1, 1 - step / 200)
            action = np.where(explores, rng.integers(0, 2, len(seen)), greedy)
            after, reward, end = run.x.step(action)
            memory += zip(seen, action, reward, after, end, strict=True)
            rows = [memory[i] for i in rng.integers(0, len(memory), 32)]
            seen, action, reward, after, end = (np.array(a) for a in zip(*rows, strict=True))
            wanted = outputs(run.model, seen)
            best = outputs(target, after).max(1)
            wanted[np.arange(32), action] = reward + 0.9 * best * ~end
            run.model.train_on_batch(seen, wanted)
            if step % 25 == 0:
                target.set_weights(run.model.get_weights())


@program(
    "deep_q", area="reinforcement", score=always_right, chance=0.5, learned=0.8, train=q_learning
)
def corridor_q():
    """DQN: the targets are the network's own outputs but for the action taken; Huber's loss."""
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(24, activation="relu"),
            layers.Dense(24, activation="relu"),
            layers.Dense(2),
        ]
    )
    return Run(
        model=model,
        x=Corridors(),
        loss=keras.losses.Huber(),
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=400,
    )


def actor_critic(run, watch=None):
    """Policy and value share a network; one train_on_batch for both, losses of one's own."""
    rng = np.random.default_rng(93)
    choose = keras.Model(run.model.input, run.model.outputs[0])
    games = Run(model=choose, x=run.x)

    def actor(y, p):  # y: the action and its advantage
        likely = ops.take_along_axis(p, ops.cast(y[:, :1], "int32"), axis=1)
        entropy = -ops.sum(p * ops.log(p + 1e-7), axis=1)
        return -ops.log(likely[:, 0] + 1e-7) * y[:, 1] - 0.01 * entropy

    run.model.compile(optimizer=run.optimizer, loss=[actor, "huber"], loss_weights=[1.0, 0.5])
    with watching(watch, run.model):
        for _ in range(run.epochs):
            seen, done, paid = play(games, rng, 16)
            value = outputs(run.model, seen, 1)[:, 0]
            y = np.stack([done, paid - value], axis=1).astype("float32")
            run.model.train_on_batch(seen, [y, paid[:, None]])


@program(
    "actor_critic",
    area="reinforcement",
    score=always_right,
    chance=0.5,
    learned=0.8,
    train=actor_critic,
)
def corridor_actor_critic():
    """Actor and critic on one network."""
    inputs = keras.Input((8,))
    h = layers.Dense(32, activation="relu")(inputs)
    outputs = [layers.Dense(2, activation="softmax")(h), layers.Dense(1)(h)]
    return Run(
        model=keras.Model(inputs, outputs),
        x=Corridors(),
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=100,
    )


def allowed_arm(rng, rows):
    """What is seen, which of four arms are allowed, and what each pays."""
    seen = rng.standard_normal((rows, 6)).astype("float32")
    pays = np.tanh(seen @ np.random.default_rng(94).standard_normal((6, 4)))
    allowed = rng.random((rows, 4)) < 0.7
    allowed[np.arange(rows), rng.integers(0, 4, rows)] = True
    return seen, allowed, pays.astype("float32")


def best_allowed(run):
    seen, allowed, pays = run.test
    p = np.asarray(run.model.predict([seen, allowed], verbose=0))
    best = np.where(allowed, pays, -9).argmax(1)
    return float(np.mean(p.argmax(1) == best))


def bandit(run, watch=None):
    """Arms are drawn by the policy; what they pay above the mean weighs their cross-entropy."""
    rng = np.random.default_rng(95)
    run.model.compile(optimizer=run.optimizer, loss=run.loss)
    with watching(watch, run.model):
        for _ in range(run.epochs):
            seen, allowed, pays = allowed_arm(rng, 64)
            logits = outputs(run.model, [seen, allowed])
            arm = (logits + rng.gumbel(size=logits.shape)).argmax(1)
            paid = pays[np.arange(64), arm]
            run.model.train_on_batch([seen, allowed], arm, sample_weight=paid - paid.mean())


@program(
    "masked_bandit",
    area="reinforcement",
    score=best_allowed,
    chance=0.4,
    learned=0.7,
    train=bandit,
    backends=("tensorflow",),  # Keras's loss is NaN with such logits on the others
)
def masked_bandit():
    """A policy whose forbidden actions have a logit of minus infinity."""
    seen, allowed = keras.Input((6,)), keras.Input((4,), dtype="bool")
    h = layers.Dense(32, activation="relu")(seen)
    logits = layers.Dense(4)(layers.Dense(32, activation="relu")(h))
    return Run(
        x=None,  # it is drawn while the loop runs
        model=keras.Model([seen, allowed], ops.where(allowed, logits, float("-inf"))),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=300,
        test=allowed_arm(np.random.default_rng(96), 400),
    )
