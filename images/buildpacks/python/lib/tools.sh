# Sourced by compile: fetches package managers and interpreters.

# fetch_tool NAME VERSION: prints the folder of this version: what the node has mounted, or a virtual environment. VERSION is
# one version, or a range.
# What the farm's own versions consist of is written down in lib/tools, so that a new release of a part breaks nothing.
fetch_tool() {
  local folder parts="$here/lib/tools/$1-$2.txt" wanted=("$1==$2")
  case $2 in [0-9]*) ;; *) wanted=("$1$2") ;; esac
  if read -r folder _ < <(/usr/lib/buildfarm/tools find "$1" "$2"); then
    echo "$folder"
    return
  fi
  folder="$cache/tools/$1-${2//[^A-Za-z0-9.,]/_}"
  if [ -f "$parts" ]; then wanted=(--no-deps -r "$parts"); fi
  if [ ! -e "$folder/fetched" ]; then
    echo "-----> Fetching $1 $2" >&2
    rm -rf "$folder" && mkdir -p "$folder"
    /usr/bin/python3 -m venv --without-pip "$folder"
    # What an app says of its own packages does not hold for a tool; its index does.
    timeout 600 env --unset=PIP_CONSTRAINT --unset=PIP_REQUIREMENT --unset=PIP_REQUIRE_HASHES --unset=PIP_NO_BINARY --unset=PIP_NO_DEPS \
      --unset=PIP_TARGET --unset=PIP_PREFIX --unset=PIP_USER --unset=PIP_PRE \
      /usr/bin/python3 -m pip --python "$folder/bin/python" --cache-dir "$cache/pip" install --quiet --disable-pip-version-check --no-input \
      --only-binary :all: "${wanted[@]}" >&2 || return 1
    # It is started in every build of some apps, and would compile itself each time.
    compile_files "$folder/bin/python" "$folder/lib"
    touch "$folder/fetched"
  fi
  echo "$folder"
}

provide_manager() { # where something is to be done with it
  local folder
  if [ -e "$work/bin/pip" ]; then return; fi
  program pip /usr/bin/python3 -m pip --python "$venv/bin/python"
  if [ "$manager" = pip ]; then return; fi
  folder=$(fetch_tool "$manager" "$manager_version") ||
    fail "$manager $manager_version cannot be fetched from here. Check the version that pyproject.toml asks for, and PIP_INDEX_URL if you have set it."
  case $manager in
    uv) program uv "$folder/bin/uv" ;;
    *) program "$manager" "$folder/bin/python" -m "$manager" ;;
  esac
}

program() { # NAME COMMAND...
  printf '#!/bin/sh\nexec %s "$@"\n' "${*:2}" >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}

# Another Python than the builder's: uv knows where there are builds, or a config var UV_PYTHON_INSTALL_MIRROR does.
provide_python() {
  local uv key
  if [ "$python_fetched" != true ]; then return; fi
  key=$("$keep" key "python $python_asked" "${own_files[@]}")
  if ! "$keep" restore "$cache" python "$key" "$build/.python"; then
    echo "-----> Fetching Python $python_asked: the builder has another"
    if ! uv=$(fetch_tool uv "$(jq -r '.uv' "$plan")") || ! UV_PYTHON_DOWNLOADS=manual UV_NO_PROGRESS=1 UV_HTTP_TIMEOUT=20 UV_HTTP_RETRIES=1 "$uv/bin/uv" python install \
      --no-bin --no-config --cache-dir "$work/uv" --install-dir "$build/.python" "$python_asked" 2>&1 | sed -u 's/^/       /'; then
      fail "Python $python_asked cannot be fetched from here. Allow the builder's $(jq -r .builder "$plan") ($python_because), or set UV_PYTHON_INSTALL_MIRROR."
    fi
    rm -rf "$build/.python"/.[!.]*
    find "$build/.python" -maxdepth 1 -type l -delete
    find_python
    compile_files "$python" "$build/.python"
    "$keep" save "$cache" python "$key" "$build/.python"
  else
    find_python
  fi
}

find_python() { # the one that was fetched, if it runs
  python=$(find "$build/.python" -path '*/bin/python3' | LC_ALL=C sort | head -1)
  python_version=$("$python" -c 'import platform; print(platform.python_version())') ||
    fail "Python $python_asked was fetched and does not run here. Ask for another, or see what UV_PYTHON_INSTALL_MIRROR names."
}
