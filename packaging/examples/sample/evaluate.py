"""Tests a model that `train` saved on a part of the data."""
import argparse

import digits

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--part", choices=("train", "test"), default="test")
args = parser.parse_args()

images = digits.parts(digits.load())[args.part]
accuracy = digits.evaluate(digits.Network.load(args.model), images, "predictions.csv")
digits.Log().metric("accuracy", 0, accuracy)
print(f"accuracy {accuracy:.4f} on {len(images)} images ({args.part})")
