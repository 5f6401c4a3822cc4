"""Trains the model that serve_model.cpp serves: train.py model.joblib"""
import sys
import joblib
import numpy as np

rng = np.random.default_rng(0)
centres = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
points = np.repeat(centres, 200, axis=0) + rng.normal(size=(600, 2)) * 0.5
labels = np.repeat(np.arange(3), 200)

# One ridge regression per class, each towards 1 for its own points and -1 for the others.
inputs = np.hstack([points, np.ones((600, 1))])
targets = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
solved = np.linalg.solve(inputs.T @ inputs + 1e-3 * np.eye(3), inputs.T @ targets)

joblib.dump({"weights": [np.ascontiguousarray(column) for column in solved[:2].T],
             "bias": solved[2].copy(),
             "classes": ["low", "right", "high"],
             "scale": 1.0}, sys.argv[1])
