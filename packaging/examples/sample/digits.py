"""The data, the network and the log of both entry points. Python's standard library only."""
import gzip
import hashlib
import json
import math
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "data", "digits.csv.gz")
DATA_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
N_IMAGES, N_TEST = 1797, 397


def load():
    """The images as ([64 numbers 0..1], digit); anything but the whole data set is an error."""
    with open(DATA, "rb") as f:
        packed = f.read()
    if hashlib.sha256(packed).hexdigest() != DATA_SHA256:
        sys.exit(f"{DATA}: checksum does not match: the data set is damaged or incomplete")
    images = []
    for line in gzip.decompress(packed).decode("ascii").splitlines():
        numbers = [int(n) for n in line.split(",")]
        images.append(([n / 16 for n in numbers[:64]], numbers[64]))
    if len(images) != N_IMAGES:
        sys.exit(f"{DATA}: {len(images)} images, expected {N_IMAGES}")
    return images


def parts(images):
    """Training and test images; the split is the same in every run."""
    order = list(range(len(images)))
    random.Random(20260101).shuffle(order)
    shuffled = [images[i] for i in order]
    return {"train": shuffled[:-N_TEST], "test": shuffled[-N_TEST:]}


class Network:
    """64 inputs, one hidden layer of rectifiers, 10 outputs, softmax."""

    def __init__(self, hidden, rng=None, weights=None):
        if weights:
            self.w1, self.w2 = weights
        else:
            self.w1 = [[rng.gauss(0, math.sqrt(2 / 65)) for _ in range(65)] for _ in range(hidden)]
            self.w2 = [[rng.gauss(0, math.sqrt(1 / hidden)) for _ in range(hidden + 1)]
                       for _ in range(10)]

    def forward(self, x):
        h = [max(0.0, sum(map(float.__mul__, w, x)) + w[64]) for w in self.w1]
        out = [sum(map(float.__mul__, w, h)) + w[-1] for w in self.w2]
        top = max(out)
        e = [math.exp(o - top) for o in out]
        total = sum(e)
        return h, [v / total for v in e]

    def learn(self, x, digit, rate):
        """One step of gradient descent; gives the loss before it."""
        h, p = self.forward(x)
        delta = [v - (k == digit) for k, v in enumerate(p)]
        back = [0.0] * len(h)
        for k, w in enumerate(self.w2):
            d = delta[k]
            for j, hj in enumerate(h):
                if hj > 0:
                    back[j] += d * w[j]
                    w[j] -= rate * d * hj
            w[-1] -= rate * d
        for j, w in enumerate(self.w1):
            if h[j] > 0:
                d = rate * back[j]
                self.w1[j] = [a - d * b for a, b in zip(w, x)] + [w[64] - d]
        return -math.log(max(p[digit], 1e-12))

    def predict(self, x):
        p = self.forward(x)[1]
        return p.index(max(p))

    def save(self, path):
        with open(path, "w") as f:
            json.dump({"kind": "digits-network", "weights": [self.w1, self.w2]}, f)

    @classmethod
    def load(cls, path):
        with open(path) as f:
            return cls(None, weights=json.load(f)["weights"])


def evaluate(network, images, path):
    """Writes the predictions as CSV and gives the accuracy."""
    right = 0
    with open(path, "w") as f:
        f.write("digit,predicted\n")
        for x, digit in images:
            predicted = network.predict(x)
            right += predicted == digit
            f.write(f"{digit},{predicted}\n")
    return right / len(images)


class Log:
    """Parameters, tags and metrics as files below $MANTIK_RUN_DIR; nothing else is needed."""

    def __init__(self):
        self.dir = os.environ.get("MANTIK_RUN_DIR") or os.path.join(os.getcwd(), ".mantik")

    def _path(self, kind, key):
        path = os.path.join(self.dir, kind, key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def param(self, key, value):
        with open(self._path("params", key), "w") as f:
            f.write(f"{value}\n")

    def tag(self, key, value):
        with open(self._path("tags", key), "w") as f:
            f.write(f"{value}\n")

    def metric(self, key, step, value):
        with open(self._path("metrics", key), "a") as f:
            f.write(f"{step} {value!r}\n")
