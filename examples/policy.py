"""Balance a pole on a cart: REINFORCE (R. Williams, 1992) with a policy of one hidden layer.

The cart-pole of Barto, Sutton and Anderson (1983), many carts at once: four numbers of state, push
left or right, one point per step upright, at most 200 steps.
"""

import numpy as np

import needle as ndl
from needle import nn, ops

STEPS, CARTS = 200, 16


class CartPole:
    """`CARTS` carts with a pole each; `step(push right?)` moves all of them by 0.02 seconds."""

    def __init__(self, carts: int = CARTS) -> None:
        self.state = np.random.uniform(-0.05, 0.05, size=(carts, 4))  # x, dx, angle, d angle
        self.upright = np.ones(carts, dtype=bool)

    def step(self, right: np.ndarray) -> None:
        """Euler's method on the equations of motion; a fallen pole stays fallen."""
        _, dx, angle, spin = self.state.T
        force = np.where(right, 10.0, -10.0)
        sin, cos = np.sin(angle), np.cos(angle)
        push = (force + 0.05 * spin**2 * sin) / 1.1
        turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        pull = push - 0.05 * turn * cos / 1.1
        moved = self.state + 0.02 * np.stack([dx, pull, spin, turn], axis=1)
        self.state = np.where(self.upright[:, None], moved, self.state)
        self.upright &= (np.abs(self.state[:, 0]) < 2.4) & (np.abs(self.state[:, 2]) < 0.2095)


def play(policy: nn.Module, carts: int = CARTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Play one episode per cart: states (T, n, 4), pushes (T, n), what was upright (T, n)."""
    game, states, pushes, alive = CartPole(carts), [], [], []
    while game.upright.any() and len(states) < STEPS:
        chances = np.exp(ndl.predict(policy, game.state.astype("float32")))
        right = np.random.rand(carts) * chances.sum(axis=1) < chances[:, 1]
        states.append(game.state)
        pushes.append(right)
        alive.append(game.upright.copy())
        game.step(right)
    return np.array(states, dtype="float32"), np.array(pushes), np.array(alive)


def returns_to_go(alive: np.ndarray, discount: float = 0.99) -> np.ndarray:
    """Return the discounted points that follow each step, standardised over all steps."""
    total, result = np.zeros(alive.shape[1]), np.zeros(alive.shape)
    for t in reversed(range(len(alive))):
        total = alive[t] + discount * total
        result[t] = total
    return (result - result[alive].mean()) / (result[alive].std() + 1e-8)


def main(rounds: int = 150, seed: int = 0) -> float:
    """Learn until 195 points on average, then return the mean points of 100 fresh episodes."""
    np.random.seed(seed)
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    opt = ndl.optim.Adam(policy.parameters(), lr=0.02)
    for _ in range(rounds):
        states, pushes, alive = play(policy)
        if alive.sum(axis=0).mean() >= 199:
            break
        worth = returns_to_go(alive)[alive].astype("float32")
        opt.zero_grad()
        log_chances = ops.logsoftmax(policy(ndl.Tensor(states[alive], requires_grad=False)))
        chosen = ops.gather(log_chances, pushes[alive].astype("int64")[:, None], axis=1)
        loss = -ops.mean(chosen * worth[:, None])
        loss.backward()
        opt.step()
    return float(play(policy, carts=100)[2].sum(axis=0).mean())


if __name__ == "__main__":
    print(f"mean return over 100 episodes: {main():.1f} of {STEPS}")
