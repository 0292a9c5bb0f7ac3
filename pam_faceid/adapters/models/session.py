"""The one place that opens an onnxruntime session."""

from __future__ import annotations

from functools import cache

import onnxruntime as ort

from pam_faceid.core.errors import ModelError


def open_session(model: bytes, *, name: str, threads: int, optimise: bool) -> ort.InferenceSession:
    """Load a model that was already checked against its manifest.

    Args:
        model: The serialised ONNX model.
        name: For messages.
        threads: Threads for one run.
        optimise: Unpack the weights, which are stored as int8 or int16, once and for good. False
            unpacks them anew in each run: that loads SFace in 30 instead of 140 ms and costs 2 ms
            a run, so it is right for one authentication and wrong for a long one. Scores agree to
            1e-6.

    Raises:
        ModelError: onnxruntime cannot load it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A thread that spins while it waits burns the core that the other process needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # "1" lets onnxruntime treat the unpacking of weights like any other constant arithmetic.
    options.add_session_config_entry("session.disable_quant_qdq", "1" if optimise else "0")
    # Planning all memory of a run as one block keeps 20 MB more and gains no time here.
    options.enable_mem_pattern = False
    # Each session would keep for itself the most that it ever computed in, and one runs at a time.
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 3
    ort.disable_telemetry_events()
    _share_one_arena()
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # onnxruntime's exceptions share no base class below Exception.
    except Exception as error:
        raise ModelError(
            f"model {name} cannot be loaded by onnxruntime {ort.__version__}: {error}",
            hint="install the version of onnxruntime that pam_faceid asks for",
        ) from error
    # It would keep the file's content for a provider to fall back to, and there is only one.
    session._model_bytes = None
    return session


@cache
def _share_one_arena() -> None:
    """Register what every session of this process takes its memory from, by the defaults."""
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(0, -1, -1, -1))
