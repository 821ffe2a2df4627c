"""First spikes by Nengo's rate of a leaky integrate-and-fire neuron, for tests/crosscheck/first_spike.txt.

    pip install nengo numpy
    python tests/crosscheck/first_spike.py > tests/crosscheck/first_spike.txt

A neuron without refractory time fires at a rate that is one over its time to the first spike, so that Nengo's closed form,
turned over, is that time. Its threshold is 1: the input is the strength in thresholds.
"""

import nengo
import numpy as np

TAU_S = 0.02
THETA = 0.1


def strengths():
    """From just above the threshold, closer and closer, to the strongest of all bands, and beyond."""
    near = THETA + np.logspace(-9, -2, 120)
    usual = np.linspace(0.11, 1.0, 179)
    beyond = np.logspace(0.05, 6, 60)
    named = [0.11, 0.15, 0.2, 0.25, 0.35, 0.5, 0.55, 0.75, 1.0]
    return np.unique(np.concatenate([near, usual, beyond, named]))


def main():
    x = strengths()
    rates = nengo.LIFRate(tau_rc=TAU_S, tau_ref=0).rates(x / THETA, gain=1, bias=0)
    print("# Made by: python tests/crosscheck/first_spike.py > tests/crosscheck/first_spike.txt")
    print(f"# nengo {nengo.__version__}, numpy {np.__version__}: 1 / LIFRate(tau_rc={TAU_S}, tau_ref=0).rates(x / {THETA}, gain=1, bias=0)")
    print("# strength, first spike in nanoseconds")
    for strength, rate in zip(x, rates.ravel()):
        print(f"{float(strength)!r} {float(1e9 / rate)!r}")


if __name__ == "__main__":
    main()
