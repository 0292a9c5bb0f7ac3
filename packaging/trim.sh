#!/bin/sh
# Take out of an environment what nothing that runs at login needs, a fifth of its size: trim.sh FOLDER
set -eu

for site in "$1"/lib/python3*/site-packages; do
    rm -rf "$site"/cv2/data/*.xml "$site"/onnxruntime/transformers "$site"/onnxruntime/quantization \
        "$site"/onnxruntime/tools
done
find "$1/lib" -type d -name tests -prune -exec rm -rf {} +
