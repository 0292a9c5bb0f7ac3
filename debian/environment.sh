#!/bin/sh
# Make the environment of the package from wheels, without a network:
#   environment.sh WHEELS FOLDER INSTALLED
#
# INSTALLED is where FOLDER lies on the machine that the package is for. Made twice, it is the same.
set -eu

wheels=$1 folder=$2 installed=$3
source=$(cd "$(dirname "$0")/.." && pwd)
python=/usr/bin/python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ ! -e "$wheels/complete" ]; then
    echo "environment.sh: $wheels has no wheels; fetch them: make wheels" >&2
    exit 1
fi

"$python" -m venv "$work/tools"
pip() {
    "$work/tools/bin/python" -I -m pip --quiet --disable-pip-version-check --no-input --no-cache-dir \
        "$@"
}
pip install --no-index --find-links "$wheels" --require-hashes --only-binary :all: \
    -r "$source/requirements/build.txt"
mkdir "$work/source"
cp -R "$source/pam_faceid" "$source/pyproject.toml" "$source/README.md" "$source/LICENSE" "$work/source"
pip wheel --no-index --no-deps --no-build-isolation --wheel-dir "$work/own" "$work/source"

"$python" -m venv --without-pip "$folder"
pip --python "$folder/bin/python" install --no-compile --no-index --find-links "$wheels" \
    --require-hashes --only-binary :all: -r "$source/requirements/install.txt"
pip --python "$folder/bin/python" install --no-compile --no-index --no-deps "$work"/own/*.whl
rm -rf "$folder"/lib/python3*/site-packages/sympy* "$folder"/lib/python3*/site-packages/mpmath*
sh "$source/packaging/trim.sh" "$folder"

# What names this machine's folders, or the moment: scripts with their interpreter, and records.
rm -rf "$folder/include"
find "$folder/bin" ! -type d ! -name 'python*' -exec rm {} +
printf '#!%s -I\nimport sys\nfrom pam_faceid.apps.daemon import main\nsys.exit(main())\n' \
    /opt/pam_faceid/current/bin/python >"$folder/bin/faceidd"
chmod 755 "$folder/bin/faceidd"
find "$folder/lib" -name direct_url.json -exec rm {} +
find "$folder/lib" -path '*.dist-info/RECORD' \
    -exec sed -i -e '\|^\.\./\.\./\.\./bin/|d' -e '\|/direct_url\.json,|d' {} +
find "$folder/lib" -type f ! -name '*.so*' -exec chmod a-x {} +
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' >"$folder/pyvenv.cfg"
# By hash and unchecked: no time of a file goes in, and a login compares none.
PYTHONHASHSEED=0 "$folder/bin/python" -m compileall -q -j 1 --invalidation-mode unchecked-hash \
    -s "$folder" -p "$installed" "$folder/lib"
