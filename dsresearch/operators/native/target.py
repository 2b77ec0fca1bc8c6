"""From LLVM code to something that a compiled program may call: machine code for this processor, as an XLA FFI target.

No compiler is needed on the machine: llvmlite brings LLVM. The call frame is read by its layout in XLA's
`ffi/api/c_api.h`, whose structures used here are the same in jaxlib 0.10 and 0.11.
"""

import ctypes
import hashlib
import re
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
from llvmlite import binding, ir

from dsresearch.operators.native.code import INT, POINTER, Code

_NEWEST = 4  # minor version of XLA's FFI, 0.4, that this layout was compared with
_METADATA = 1  # XLA_FFI_Extension_Metadata: XLA asks for the version, once, before the first call
_ENTRY = "handler"

_engines: dict[str, Any] = {}  # by target: machine code lives as long as its engine
_one_at_a_time = threading.Lock()  # programs are traced in several threads


def _machine() -> Any:
    """The processor that this process runs on, for one engine, which then owns it."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True)


@cache
def vector_lanes() -> int:
    """Float32 numbers in the longest vector of this processor."""
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


@cache
def _api_version() -> tuple[int, int]:
    """Version of the call frame that this jaxlib makes, or the newest one known: XLA says whether it takes that."""
    header = (Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text(encoding="utf-8")
    major, minor = (int(re.findall(rf"define XLA_FFI_API_{part} (\d+)", header)[0]) for part in ("MAJOR", "MINOR"))
    return major, min(minor, _NEWEST)


def register(name: str, code: str, arguments: Sequence[int], results: Sequence[int]) -> str:
    """Compile `void <name>(float* ...)` of arrays of so many numbers; gives the name by which a program calls it.

    Where a program maps the call over trials, with axes in front of those of every array, the code runs once for each.
    The name holds a hash of the code, so that a program in JAX's cache on disk is never run with other code.
    """
    handler = _handler(name, arguments, results)
    target = f"dsresearch_{name}_{hashlib.sha256((code + handler).encode()).hexdigest()[:16]}"
    with _one_at_a_time:
        if target not in _engines:
            engine = _compile(code, handler)
            address = ctypes.CFUNCTYPE(ctypes.c_void_p)(engine.get_function_address(_ENTRY))
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(address), platform="cpu")
            _engines[target] = engine  # last: what fails on the way is tried again by the next who asks
    return target


def _compile(code: str, handler: str) -> Any:
    """An engine with the machine code of a kernel and its handler."""
    machine = _machine()
    module = binding.parse_assembly(code)
    module.link_in(binding.parse_assembly(handler))
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    tuning = binding.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = False  # the code says itself what is a vector
    passes = binding.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


def _handler(name: str, arguments: Sequence[int], results: Sequence[int]) -> str:
    """LLVM code of `void* handler(call frame)`, which XLA calls, around the kernel of that name.

    The last result has one axis of its own; what stands before it are trials.
    """
    sizes, byte, word = [*arguments, *results], ir.IntType(8), ir.IntType(32)
    code = Code(_ENTRY, 1, gives=POINTER)
    kernel = ir.Function(code.module, ir.FunctionType(ir.VoidType(), [POINTER] * len(sizes)), name=name)
    builder, (frame,), success = code.builder, code.arrays, ir.Constant(POINTER, None)

    def place(base: Any, offset: int) -> Any:
        return builder.gep(base, [ir.Constant(INT, offset)], source_etype=byte)

    def field(base: Any, offset: int, kind: Any = POINTER) -> Any:
        return builder.load(place(base, offset), typ=kind)

    extension = field(frame, 8)
    with builder.if_then(builder.icmp_unsigned("!=", extension, success)):
        asked = builder.icmp_unsigned("==", field(extension, 8, word), ir.Constant(word, _METADATA))
        with builder.if_then(asked):
            metadata = field(extension, 24)
            for offset, number in zip((24, 28), _api_version(), strict=True):
                builder.store(ir.Constant(word, number), place(metadata, offset))
            builder.ret(success)
    lists = ((72, arguments), (112, results))
    buffers = [field(field(frame, offset), 8 * i) for offset, arrays in lists for i in range(len(arrays))]
    rank, sides = field(buffers[-1], 32, INT), field(buffers[-1], 40)

    def times_side(i: Any, product: list[Any]) -> list[Any]:
        side = builder.load(builder.gep(sides, [i], source_etype=INT), typ=INT)
        return [builder.mul(product[0], side)]

    def trial(t: Any, _: list[Any]) -> list[Any]:
        arrays = zip(buffers, sizes, strict=True)
        builder.call(kernel, [code.pointer(field(buffer, 24), code.times(t, size)) for buffer, size in arrays])
        return []

    (trials,) = code.loop(code.sum(rank, -1), times_side, [code.at(1)])
    code.loop(trials, trial)
    return code.text(success)
