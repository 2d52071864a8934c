"""Small learnable data for programs on rows, texts, series and sounds: the same rows every time."""

import numpy as np


def standardised(values):
    """Columns of mean 0 and standard deviation 1, as float32."""
    return ((values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6)).astype("float32")


def split(x, y, share=0.25):
    """``(x, y)`` to train on and ``(x, y)`` held out: the last ``share`` of the rows."""
    first = x
    while isinstance(first, (dict, list, tuple)):
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    cut = len(first) - int(len(first) * share)

    def part(rows, values):
        if isinstance(values, dict):
            return {name: part(rows, v) for name, v in values.items()}
        if isinstance(values, (list, tuple)):
            return type(values)(part(rows, v) for v in values)
        return values[rows]

    before, behind = slice(None, cut), slice(cut, None)
    return (part(before, x), part(before, y)), (part(behind, x), part(behind, y))


def teacher(rng, x, outputs=1):
    """What a random network with one hidden layer makes of x: smooth, not linear, standardised."""
    hidden = np.tanh(x @ rng.standard_normal((x.shape[1], 12)) / np.sqrt(x.shape[1] / 2))
    return standardised(hidden @ rng.standard_normal((12, outputs)))


def table(seed=0, rows=2000, columns=10, outputs=1):
    """Standardised columns, and standardised values to predict from them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns)).astype("float32")
    return x, teacher(rng, x, outputs)


def houses(rows=2000):
    """Columns in the units they come in (income, age, rooms, people, place), and a price."""
    rng = np.random.default_rng(10)
    income = rng.lognormal(1.2, 0.5, rows)
    age = rng.uniform(1, 52, rows)
    rooms = rng.lognormal(1.6, 0.3, rows)
    people = rng.lognormal(7, 0.7, rows)
    north, east = rng.uniform(32, 42, rows), rng.uniform(-124, -114, rows)
    coast = np.exp(-np.abs(east + 0.8 * (north - 32) + 118) / 2)
    price = 0.45 * income + 1.5 * coast + 0.08 * rooms - 0.01 * age + 0.1 * np.log(people)
    x = np.stack([income, age, rooms, people, north, east], axis=1)
    return x.astype("float32"), (price + rng.normal(0, 0.15, rows)).astype("float32")[:, None]


def customers(rows=2000):
    """A dict of columns (two amounts, three categories as integers), and yes or no."""
    rng = np.random.default_rng(11)
    x = {
        "age": rng.uniform(18, 80, rows),
        "balance": rng.lognormal(7, 1, rows),
        "job": rng.integers(0, 8, rows),
        "city": rng.integers(0, 30, rows),
        "plan": rng.integers(0, 3, rows),
    }
    job, city = rng.standard_normal(8), rng.standard_normal(30)
    value = 1.5 * job[x["job"]] + city[x["city"]] + 0.8 * (x["plan"] == 2) * (np.log(x["balance"]))
    value += np.sin(x["age"] / 10) - 2 * (x["plan"] == 2)
    numbers = ("age", "balance")
    x = {k: v.astype("float32" if k in numbers else "int32")[:, None] for k, v in x.items()}
    return x, (value > np.median(value)).astype("float32")[:, None]


def ratings(rows=6000, users=60, items=50):
    """Pairs of user and item, and the standardised rating, which two tastes and biases make."""
    rng = np.random.default_rng(12)
    taste, kind = rng.standard_normal((users, 2)), rng.standard_normal((items, 2))
    pairs = np.stack([rng.integers(0, users, rows), rng.integers(0, items, rows)], axis=1)
    rating = (taste[pairs[:, 0]] * kind[pairs[:, 1]]).sum(1) + rng.standard_normal(items)[
        pairs[:, 1]
    ]
    return pairs.astype("int32"), standardised(rating + rng.normal(0, 0.2, rows))[:, None]


def topics(rows=1600, longest=20, words=40, classes=4, share=0.35, seed=13):
    """Token numbers padded with 0 behind, as rare as words are; a share of them tells the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    rank = 1 / np.arange(1, words + 1)
    word = rng.choice(words, (rows, longest), p=rank / rank.sum())
    topic = np.where(rng.random((rows, longest)) < share, y[:, None] + 1, 0)
    x = 1 + topic * words + word
    x[np.arange(longest) >= rng.integers(longest // 2, longest + 1, rows)[:, None]] = 0
    return x.astype("int32"), y.astype("int32"), 1 + words * (classes + 1)


def sentences(rows=1200, longest=16, words=24, seed=14):
    """Token numbers of a chain in which a word has two followers, padded with 0 behind.

    The likelier follower comes nine times of ten: a model that knows the chain is right so often.
    """
    rng = np.random.default_rng(seed)
    follower = np.stack([rng.permutation(words), rng.permutation(words)])
    x = np.zeros((rows, longest), "int32")
    word = rng.integers(0, words, rows)
    for at in range(longest):
        x[:, at] = word + 1
        word = follower[(rng.random(rows) > 0.9).astype(int), word]
    x[np.arange(longest) >= rng.integers(longest // 2, longest + 1, rows)[:, None]] = 0
    return x, words + 1


def waves(rows=1200, length=32, channels=1, classes=4, noise=0.3, seed=15):
    """Noisy waves, standardised; the class is which of some frequencies they have."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    time = np.arange(length)[None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (rows, 1, channels))
    x = np.sin(time * (0.2 + 0.35 * y[:, None, None]) + phase)
    x = x + noise * rng.standard_normal(x.shape)
    return ((x - x.mean()) / x.std()).astype("float32"), y.astype("int32")


def season(length=2000, seed=16):
    """A standardised series: a day, a week that bends it, and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    day, week = np.sin(2 * np.pi * t / 24), np.sin(2 * np.pi * t / 168)
    return standardised(day * (1 + 0.5 * week) + 0.7 * week + 0.1 * rng.standard_normal(length))


def windows(series, past, future):
    """Windows of ``past`` values with a channel axis, and the ``future`` values behind each."""
    starts = np.arange(len(series) - past - future + 1)
    x = series[starts[:, None] + np.arange(past)]
    y = series[starts[:, None] + past + np.arange(future)]
    return x[..., None].astype("float32"), y.astype("float32")
