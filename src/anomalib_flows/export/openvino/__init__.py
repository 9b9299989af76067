"""Export to OpenVINO, in floating point and INT8."""
