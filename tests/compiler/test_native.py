import ctypes
import gc
import subprocess
import sys

import numpy as np
import pytest

from needle.compiler.run import native
from needle.compiler.run.native import Library, NativeUnavailable, assembly, compile_module
from needle.compiler.target import named
from needle.errors import NeedleError

TWICE = """
define internal i64 @helper(i64 %x) alwaysinline {
  %y = mul i64 %x, 2
  ret i64 %y
}
define internal i64 @unused(i64 %x) {
  ret i64 %x
}
define i64 @twice(i64 %x) {
  %y = call i64 @helper(i64 %x)
  ret i64 %y
}
"""


def function(library, name):
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.addresses[name])


def test_text_becomes_a_function():
    library = Library([compile_module(TWICE)], ["twice"])
    assert function(library, "twice")(21) == 42


def test_a_library_of_several_objects():
    call = "declare i64 @twice(i64)\n" + TWICE[TWICE.index("define i64") :].replace(
        "@twice(", "@four("
    ).replace("@helper", "@twice")
    library = Library([compile_module(TWICE), compile_module(call)], ["twice", "four"])
    assert function(library, "four")(5) == 10


def test_many_libraries_may_be_loaded_and_freed():
    data = compile_module(TWICE)
    kept = Library([data], ["twice"])
    for _ in range(50):
        library = Library([data], ["twice"])
        assert function(library, "twice")(3) == 6
        del library
    gc.collect()
    assert function(kept, "twice")(4) == 8


def test_memory_functions_of_c_are_found():
    text = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define i64 @clear(i64 %p) {
  %q = inttoptr i64 %p to ptr
  call void @llvm.memset.p0.i64(ptr %q, i8 7, i64 100000, i1 false)
  ret i64 0
}
"""
    library = Library([compile_module(text)], ["clear"])
    block = np.zeros(100_001, "uint8")
    function(library, "clear")(block.ctypes.data)
    assert block[:-1].min() == 7
    assert block[-1] == 0


def test_helpers_are_inlined_and_unused_ones_dropped():
    text = assembly(TWICE, named("haswell"))
    assert "helper" not in text
    assert "unused" not in text
    assert "call" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("define void @f( {", "expected type"),
        ("define i64 @f() {\n  ret void\n}", "ret"),
        ("define void @f() {\nentry:\n  br label %entry\n}", "predecessors"),
        ("declare void @f()\ndeclare void @f()", "redefinition"),
    ],
)
def test_wrong_code_is_an_error_with_llvms_message(text, message):
    with pytest.raises(NeedleError, match=message):
        compile_module(text)


def test_a_missing_symbol_is_an_error():
    data = compile_module(
        "declare i64 @no_such_thing(i64)\n"
        "define i64 @f(i64 %x) {\n  %y = call i64 @no_such_thing(i64 %x)\n  ret i64 %y\n}"
    )
    with pytest.raises(NeedleError, match="cannot be loaded"):
        Library([data], ["f"])


def test_damaged_object_code_is_an_error():
    with pytest.raises(NeedleError, match="cannot be loaded"):
        Library([b"this is no object file"], ["f"])


def test_without_llvmlite_there_is_one_clear_signal(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    native.llvm.cache_clear()
    with pytest.raises(NativeUnavailable, match=r"llvmlite does not work here .* running eagerly"):
        native.llvm()
    monkeypatch.undo()
    assert native.llvm() is native.llvm()


def test_an_llvmlite_too_old_for_our_code_counts_as_none(monkeypatch):
    monkeypatch.setattr("llvmlite.binding.llvm_version_info", (15, 0, 7))
    native.llvm.cache_clear()
    with pytest.raises(NativeUnavailable, match=r"0\.45 or later is needed.* running eagerly"):
        native.llvm()
    native.llvm.cache_clear()


def test_importing_the_compiler_loads_no_llvm():
    code = (
        "import sys, needle.compiler.run.run, needle.compiler.run.cache, needle.compiler.run.pool;"
        "print('llvmlite' in sys.modules, 'llvmlite.binding' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
