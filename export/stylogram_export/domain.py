"""The domain of the ops that the engine's library adds to ONNX Runtime."""

DOMAIN, VERSION = "stylogram", 1
