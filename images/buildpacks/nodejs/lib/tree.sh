# Sourced by compile: installs, prunes, and keeps the installed tree for the next build. Any config var may change what the
# install scripts of packages do.
keep=/usr/lib/buildfarm/keep

install_dependencies() {
  find . -name node_modules -type d -prune -exec rm -rf {} +
  if [ "$kept" = true ] || [ "$makes_lock" = true ]; then make_key; fi
  if [ "$makes_lock" = true ]; then restore_lock; fi
  echo "-----> $installing"
  if [ -n "$key" ] && "$keep" restore "$cache" node_modules "$key" "$build" /tmp/nodejs.moved; then
    echo "       Restored from the cache: nothing changed"
    known=1
    find_parts
  else
    install_anew
    find_parts
    if [ -n "$key" ] && [ ${#parts[@]} -gt 0 ]; then "$keep" save "$cache" node_modules "$key" "$build" "${parts[@]}"; fi
  fi
  if [ -n "$lock_key" ]; then keep_lock; fi
  installed=1
  if [ -n "$key" ] && [ -n "$pruning" ]; then
    : >/tmp/nodejs.installed
    if [ -n "$known" ] && [ -f "$cache/kept/node_modules/marks" ]; then
      installed_marks=$(<"$cache/kept/node_modules/marks")
    else
      installed_marks=$(marks)
      if [ -d "$cache/kept/node_modules" ]; then printf %s "$installed_marks" >"$cache/kept/node_modules/marks"; fi
    fi
  fi
}

# Where the tree is made in every build, its versions are those of the lock file that the day's first one made.
restore_lock() {
  lock_key=$key key=""
  if "$keep" restore "$cache" lock "$lock_key" "$build"; then lock_key=""; fi
}

keep_lock() {
  local name made=()
  for name in "${made_locks[@]}"; do
    if [ -f "$name" ]; then made+=("$name"); fi
  done
  if [ ${#made[@]} -gt 0 ]; then "$keep" save "$cache" lock "$lock_key" "$build" "${made[@]}"; fi
}

# The app's own scripts that are steps of their own run in every build, and what they make of the tree is not kept.
install_anew() {
  if [ ${#apart[@]} = 0 ]; then
    perform "$installing"
    return
  fi
  cp -p package.json /tmp/nodejs.package.json
  jq 'del(.scripts | .preinstall, .install, .postinstall, .prepublish, .preprepare, .prepare, .postprepare) | .gypfile = false' /tmp/nodejs.package.json >/tmp/nodejs.without-scripts.json
  cp --remove-destination /tmp/nodejs.without-scripts.json package.json
  perform "$installing"
  cp -p --remove-destination /tmp/nodejs.package.json package.json
}

make_key() {
  local name words=()
  while IFS= read -r name; do
    case ${name,,} in npm_* | pnpm_* | yarn_* | bun_* | node_env | ci) words+=("$name=${!name}") ;; esac
  done < <(compgen -e)
  # Without a lock file, the first build of a day (UTC) takes the newest packages, and the others those same ones.
  if [ "$daily" = true ]; then words+=("resolved on $(date -u +%F)"); fi
  key=$("$keep" key "$here/bin" "$here/lib" "$config" "node $node_version" "$manager $manager_version" "$installing" "${words[@]}" "${inputs[@]}")
}

find_parts() { # what is kept: the folders, those of workspaces too, Plug'n'Play's files, and a lock file that was made
  local part
  mapfile -t parts < <(find . -name node_modules -type d -prune ! -path './.git/*' -printf '%P\n' | LC_ALL=C sort)
  for part in "${made_locks[@]}"; do
    if [ -e "$part" ]; then parts+=("$part"); fi
  done
  if [ "$manager_linker" != pnp ]; then return; fi
  for part in .pnp.cjs .pnp.data.json .pnp.loader.mjs .yarn/build-state.yml .yarn/cache .yarn/unplugged; do
    if [ -e "$part" ]; then parts+=("$part"); fi
  done
}

drop_caches() { # of bundlers, with dates and random numbers in them
  local part
  for part in "${parts[@]}"; do rm -rf "$part/.cache" "$part/.vite" "$part/.vite-temp"; done
}

# A letter for each thing in the trees but caches; n for what was written, renamed or moved since the installing. A folder named
# node_modules does not count: that caches in it were dropped changes it, too.
marks() {
  if [ ${#parts[@]} = 0 ]; then return; fi
  find "${parts[@]}" \( -name .cache -o -name .vite -o -name .vite-temp \) -prune -o ! \( -type d -name node_modules \) -cnewer /tmp/nodejs.installed -printf n -o -printf .
}

# Whether the trees are as they were installed, but for caches. Where they were moved from a snapshot, a folder in which anything was
# opened for writing has a new time of change, as all folders above it have (overlayfs). So those with an old one need not be looked
# into: a search of all 55,000 files of a Vite app took half of the build, and the kernel then had to forget them when the node froze the app.
left_alone() {
  local folder saved=$cache/kept/node_modules there newer
  if [ ! -e /tmp/nodejs.moved ]; then
    [ "$(marks)" = "$installed_marks" ]
    return
  fi
  mapfile -t -d '' there <"$saved/parts"
  [ "${parts[*]@Q}" = "${there[*]@Q}" ] || return 1
  find "${parts[@]}" \( -name .cache -o -name .vite -o -name .vite-temp \) -prune -o ! -cnewer /tmp/nodejs.installed -prune -o \
    -type d -name node_modules -printf '%p\0' -o -printf '\0' -quit >/tmp/nodejs.newer || return 1
  mapfile -t -d '' newer </tmp/nodejs.newer
  # Folders named node_modules, in which a cache was; what they have must also still be there.
  for folder in "${newer[@]}"; do
    [ -n "$folder" ] && [ "$(names "$folder")" = "$(names "$saved/tree/$folder")" ] || return 1
  done
}
names() { (cd -- "$1" && GLOBIGNORE=.cache:.vite:.vite-temp && shopt -s nullglob && printf '%q\n' *); }

# Everything in the trees, with what changes when it is written
listing() {
  if [ ${#parts[@]} = 0 ]; then return; fi
  find "${parts[@]}" \( -type d -printf 'd\t\t\t\t%p\0' -o -printf '%y\t%s\t%T@\t%l\t%p\0' \) | LC_ALL=C sort -z
}
paths() { cut -z -f 5- | LC_ALL=C sort -z; }

prune_dependencies() {
  local part
  echo "-----> $pruning"
  find_parts
  drop_caches
  # What took nothing but the time of the manager the last time is done again, where the app's scripts left the tree alone.
  if [ -z "$key" ] || ! left_alone; then
    prune_anew
  elif [ -n "$known" ] && "$keep" restore "$cache" node_modules.pruned "$key" "$build"; then
    for part in "${parts[@]}"; do
      if ! grep -qzxF -- "$part" "$cache/kept/node_modules.pruned/parts"; then rm -rf "$part"; fi
    done
  else
    listing >/tmp/nodejs.before
    prune_anew
    rm -rf /tmp/nodejs.pruned && mkdir -p /tmp/nodejs.pruned/changed
    listing >/tmp/nodejs.after
    LC_ALL=C comm -z -23 <(paths </tmp/nodejs.before) <(paths </tmp/nodejs.after) >/tmp/nodejs.pruned/removed
    LC_ALL=C comm -z -13 /tmp/nodejs.before /tmp/nodejs.after | paths | xargs -0 -r cp -a --parents --target-directory /tmp/nodejs.pruned/changed
    "$keep" derive "$cache" node_modules.pruned "$key" node_modules /tmp/nodejs.pruned/{removed,changed}
  fi
}

prune_anew() {
  case $manager in
    # Not the packages' own scripts: they ran already. Yarn has a setting, and no option.
    yarn) YARN_ENABLE_SCRIPTS=false perform "$pruning" ;;
    *) perform "$pruning" ;;
  esac
}
