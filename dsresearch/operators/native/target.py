"""From LLVM code to something that a compiled program may call: machine code for this processor, as an XLA FFI target.

No compiler is needed on the machine: llvmlite brings LLVM. The call frame is read by its layout in XLA's
`ffi/api/c_api.h`, whose structures used here are the same in jaxlib 0.10 and 0.11.
"""

import ctypes
import hashlib
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any

import jax
from llvmlite import binding, ir

from dsresearch.operators.native.code import INT, POINTER

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


def register(name: str, code: str, arguments: int, results: int) -> str:
    """Compile `void <name>(float* ...)` of arguments and results; gives the name by which a program calls it.

    The name holds a hash of the code, so that a program in JAX's cache on disk is never run with other code.
    """
    target = f"dsresearch_{name}_{hashlib.sha256(code.encode()).hexdigest()[:16]}"
    with _one_at_a_time:
        if target not in _engines:
            address = ctypes.CFUNCTYPE(ctypes.c_void_p)(_compile(target, code, _handler(name, arguments, results)))
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(address), platform="cpu")
    return target


def _compile(target: str, code: str, handler: str) -> int:
    """Machine code of a kernel and its handler, kept under its target; gives the handler's address."""
    machine = _machine()
    module = binding.parse_assembly(code)
    module.link_in(binding.parse_assembly(handler))
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    tuning = binding.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = False  # the code says itself what is a vector
    passes = binding.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    _engines[target] = engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return int(engine.get_function_address(_ENTRY))


def _handler(name: str, arguments: int, results: int) -> str:
    """LLVM code of `void* handler(call frame)`, which XLA calls, around the kernel of that name."""
    module, byte, word = ir.Module(name=_ENTRY), ir.IntType(8), ir.IntType(32)
    kernel = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER] * (arguments + results)), name=name)
    entry = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), name=_ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block())
    frame, success = entry.args[0], ir.Constant(POINTER, None)

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
    buffers = [
        field(field(frame, offset), 8 * i) for offset, count in ((72, arguments), (112, results)) for i in range(count)
    ]
    builder.call(kernel, [field(buffer, 24) for buffer in buffers])
    builder.ret(success)
    return str(module)
