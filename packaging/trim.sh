#!/bin/sh
# Take out of an environment what nothing that runs at login needs, a quarter of its size: trim.sh FOLDER
set -eu

for site in "$1"/lib/python3*/site-packages; do
    rm -rf "$site"/cv2/data/*.xml "$site"/onnxruntime/transformers "$site"/onnxruntime/quantization \
        "$site"/onnxruntime/tools
    # For programs in C: what Python imports has all of it inside, and does not load it.
    rm -f "$site"/onnxruntime/capi/libonnxruntime.so*
done
find "$1/lib" -type d -name tests -prune -exec rm -rf {} +
