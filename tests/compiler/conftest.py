"""Fixtures of the compiler's tests."""

import _thread
import signal
import threading

import pytest

import needle as ndl
from needle.compiler.jit import native as jit_native


@pytest.fixture(params=["interpreter", "native"])
def jit(request):
    """`ndl.jit` on both executors: the interpreter says what is right, native code must agree."""

    def make(function=None, **options):
        if function is None:
            return lambda f: make(f, **options)
        compiled = ndl.jit(function, **options)
        if request.param == "interpreter":
            compiled.compile = jit_native.interpret
        return compiled

    return make


@pytest.fixture
def interrupts():
    """Raises KeyboardInterrupt every 2 ms, only while the list it gives is not empty."""
    armed, stop = [], threading.Event()

    def handle(number, frame):
        if armed:
            armed.clear()
            raise KeyboardInterrupt

    def disturb():
        while not stop.wait(0.002):
            _thread.interrupt_main()

    before = signal.signal(signal.SIGINT, handle)
    disturber = threading.Thread(target=disturb)
    disturber.start()
    yield armed
    stop.set()
    disturber.join()
    signal.signal(signal.SIGINT, before)
