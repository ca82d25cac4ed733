# Sourced by compile: the virtual environment, what is installed into it, and what of it is kept for the next build.

# This buildpack, and the config vars: any of them may change what a package compiles to.
own_files=("$here"/bin/{plan,compile} "$here"/lib/*.sh "$here"/lib/python_plan/*.py "$config"/*)

# What is to be known and set before anything is installed
make_ready() {
  ready=1
  export PATH=$venv/bin:$work/bin:$builder_path UV_PYTHON=$venv/bin/python
  key=$("$keep" key "$python_version $manager $manager_version" "$installing" "${inputs[@]}" "${own_files[@]}")
}

# What the managers have compiled with other libraries or config vars is of no use.
forget_builds() {
  local ground
  ground=$("$keep" key "$python_version" "${own_files[@]}")
  if [ "$(cat "$cache/ground" 2>/dev/null)" != "$ground" ]; then
    rm -rf "$cache"/pip/wheels "$cache"/uv/sdists-* "$cache"/poetry/artifacts "$cache"/poetry/cache/artifacts "$cache"/pdm/wheels "$cache"/pipenv "$cache"/xdg
    echo "$ground" >"$cache/ground"
  fi
  # uv finds what it built of a folder valid by file times, which mean nothing here.
  rm -rf "$cache"/uv/sdists-*/{path,editable,directory}
}

make_environment() { # unless it was restored
  if [ ! -e "$venv/bin/python" ]; then
    "$python" -m venv --without-pip "$venv"
    provide_manager
    forget_builds
  fi
}

install_dependencies() {
  if [ "$package" = true ]; then install_package; else install_list; fi
}

# install_list [COMMAND WORDS]: what the manager's lock file or list says
install_list() {
  local command=${1:-$installing}
  echo "-----> ${2:-$command}"
  if [ "$kept" = true ] && "$keep" restore "$cache" venv "$key" "$venv"; then
    echo "       Restored from the cache: nothing changed"
    return
  fi
  make_environment
  set_aside
  perform "$command"
  put_back
  tidy
  echo "-----> Compiling"
  compile_files "$venv/bin/python" "$venv/lib"
  if [ "$kept" = true ]; then "$keep" save "$cache" venv "$key" "$venv"; fi
}

# The wheel is built in a copy, since the backend of a project may write into it. It says what the project depends on.
install_package() {
  local wheel
  make_environment
  mkdir -p "$work/wheel"
  cp -a . "$work/source" && rm -rf "$work/source/.venv"
  echo "-----> pip wheel --no-deps ."
  perform "pip wheel --quiet --no-deps --wheel-dir '$work/wheel' '$work/source'"
  wheel=$(echo "$work"/wheel/*.whl)
  # Its words end where the description begins.
  unzip -p "$wheel" '*.dist-info/METADATA' | sed -n '/^\r*$/q; s/^Requires-Dist: //p' | tr -d '\r' >"$work/requirements.txt"
  if grep -q '@' "$work/requirements.txt"; then kept=false; fi
  if [ -s "$work/requirements.txt" ]; then
    key=$("$keep" key "$key" "$work/requirements.txt")
    install_list "pip install -r $work/requirements.txt" "pip install $(paste -sd ' ' "$work/requirements.txt")"
  fi
  add_project "pip install --no-deps '$wheel'"
}

install_project() {
  set_aside
  provide_manager
  forget_builds
  add_project "$project"
  put_back
}

add_project() { # COMMAND: installs the app itself, which is done in every build
  local before name
  echo "-----> ${1/"$work/wheel/"/}"
  before=$(cd "$venv"/lib/python*/site-packages && ls -A)
  perform "$1"
  tidy
  for name in $(cd "$venv"/lib/python*/site-packages && comm -13 <(LC_ALL=C sort <<<"$before") <(ls -A | LC_ALL=C sort)); do
    compile_files "$venv/bin/python" "$venv"/lib/python*/site-packages/"$name"
  done
}

# Files get one fixed time in the image, so a .pyc must be found valid by its hash, not by its source's time.
compile_files() { # PYTHON FOLDER; templates and tests of packages need not compile
  SOURCE_DATE_EPOCH=1 PYTHONHASHSEED=0 "$1" -W ignore -m compileall -qq -f --invalidation-mode unchecked-hash "$2" || true
}

tidy() { # where and when packages were fetched, which is no part of the app
  local file
  find "$venv" \( -name direct_url.json -o -name uv_cache.json -o -name uv_build.json \) -path '*.dist-info/*' | while IFS= read -r file; do
    rm "$file"
    sed -i "/\/${file##*/},/d" "${file%/*}/RECORD"
  done
  rm -rf "$venv/.lock" "$venv/.gitignore" "$venv/CACHEDIR.TAG" .pdm-python .pdm-build
}

# Builds leave folders that are called like some of the app's own.
made_by_builds() { find . \( -path ./.venv -o -path ./.git -o -name node_modules \) -prune -o -type d \( -name build -o -name '*.egg-info' \) -prune -print0; }
set_aside() {
  rm -rf "$work/own" && mkdir "$work/own"
  made_by_builds | xargs -0 -r cp -a --parents --target-directory "$work/own"
}
put_back() {
  made_by_builds | xargs -0 -r rm -rf --
  cp -a "$work/own/." .
}
