"""A first program: learn handwritten digits, then say how many test images come out right."""

import numpy as np

import needle as ndl
from needle import nn

np.random.seed(0)
train, test = ndl.data.digits()
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
loss_fn = nn.SoftmaxLoss()
opt = ndl.optim.Adam(model.parameters(), lr=0.003)

for epoch in range(10):
    for x, y in ndl.data.DataLoader(train, batch_size=32, shuffle=True):
        opt.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        opt.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")

guess = ndl.predict(model, test.X).argmax(axis=1)
print(f"test accuracy {(guess == test.y).mean():.3f}")
