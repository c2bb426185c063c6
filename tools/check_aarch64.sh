#!/bin/bash
# The tests on aarch64, emulated: the package is cross-compiled by gcc, and qemu runs a CPython of Debian's arm64.
#
#     tools/check_aarch64.sh [argument for pytest]...
#
# Without arguments it runs the tests of kernels, accuracy and gradients, some 25 minutes. Needs Debian with
# gcc-aarch64-linux-gnu and qemu-user-static; and a Python of the same version as Debian's, PYTHON or python3.11, with
# what `build-system.requires` in pyproject.toml names. All that it fetches goes to a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
host=${PYTHON:-python3.11}
version=$("$host" -c 'import sys; print("{}.{}".format(*sys.version_info))')

# Debian's packages and all that they depend on, by an apt that knows no installed package, unpacked.
apt=$work/apt debian=$work/debian
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$debian"
touch "$apt/status"
options=(-qq -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o Debug::NoLocking=1
         -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
apt-get "${options[@]}" install -y --download-only --no-install-recommends "python$version" libstdc++6 > "$work/log" 2>&1 \
    || { tail -20 "$work/log"; exit 1; }
for package in "$apt"/cache/archives/*.deb; do
    dpkg -x "$package" "$debian"
done

"$host" -m pip -q install --target "$work/site" --only-binary=:all: --python-version "$version" --implementation cp \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
    numpy scipy ml_dtypes pytest hypothesis mpmath threadpoolctl

# The headers of Python are those of this machine, which has the same sizes of all types.
export CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared"
"$host" setup.py -q build_ext --build-lib "$work/build" --build-temp "$work/temp"
cp -r csoftmax "$work/site/csoftmax"
rm -f "$work"/site/csoftmax/*.so
cp "$work"/build/csoftmax/_csoftmax.*.so "$work/site/csoftmax/_csoftmax.cpython-${version/./}-aarch64-linux-gnu.so"

# A Python that starts itself again: subprocesses of the tests are emulated too.
cat > "$work/python" <<END
#!/bin/sh
export PYTHONHOME=$debian/usr PYTHONPATH=$work/site:\$PYTHONPATH
exec qemu-aarch64-static -L $debian -0 $work/python $debian/usr/bin/python$version "\$@"
END
chmod +x "$work/python"
unset CC LDSHARED
cd "$work"
"$work/python" -c 'import csoftmax; csoftmax.show_config(); assert csoftmax.show_config("dicts")["isa"] == "neon"'
[ $# -gt 0 ] || set -- "$root"/tests/kernels "$root"/tests/values/test_accuracy.py "$root"/tests/values/test_gradients.py
"$work/python" -m pytest -c "$root/pyproject.toml" --rootdir "$root" -p no:cacheprovider -q "$@"
