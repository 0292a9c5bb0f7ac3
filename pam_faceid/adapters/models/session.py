"""The one place that opens an onnxruntime session."""

from __future__ import annotations

import onnxruntime as ort

from pam_faceid.core.errors import ModelError


def open_session(model: bytes, *, name: str, threads: int, optimise: bool) -> ort.InferenceSession:
    """Load a model that was already checked against its manifest.

    Args:
        model: The serialised ONNX model.
        name: For messages.
        threads: Threads for one run.
        optimise: Rewrite the graph for this processor first. That costs more than it saves within
            one authentication, and pays from about ten runs on.

    Raises:
        ModelError: onnxruntime cannot load it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    # A thread that spins while it waits burns the core that the other process needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    ort.disable_telemetry_events()
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # onnxruntime's exceptions share no base class below Exception.
    except Exception as error:
        raise ModelError(
            f"model {name} cannot be loaded by onnxruntime {ort.__version__}: {error}",
            hint="install the version of onnxruntime that pam_faceid asks for",
        ) from error
