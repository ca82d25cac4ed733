# Sourced by compile: puts the Node and the package manager of the plan into $tools/bin.

provide_node() {
  if [ "$node_fetched" = false ]; then
    node_folder=$(readlink -f "$(command -v node)")
    node_folder=${node_folder%/bin/node}
    return
  fi
  echo "-----> Fetching Node $node_version"
  fetch_as node "$node_version" ||
    fail "Node $node_version cannot be fetched from here. Ask for another version: $node_because."
  node_version=$fetched_version node_folder=$fetched
}

# The program of the manager is $tools/bin/NAME; npm's of the builder is used as it is.
provide_manager() {
  local path=$manager_path
  if [ -n "$path" ]; then
    [ -f "$build/$path" ] || fail "yarnPath in .yarnrc.yml names $path, which is not in the app. Commit it, or remove yarnPath."
    chmod u+x "$build/$path"
    ln -s "$build/$path" "$tools/bin/yarn"
    return
  fi
  if [ "$manager_fetched" = false ]; then return; fi
  echo "-----> Fetching $manager $manager_version"
  fetch_as "$manager" "$manager_version" "$manager_digest" || case $? in
    2) fail "The package of $manager $manager_version is not the one whose digest packageManager names. Write the right one, or none." ;;
    *) fail "$manager $manager_version cannot be fetched from here. Ask for another version in package.json." ;;
  esac
  manager_version=$fetched_version
  case $manager in
    npm) ln -s "$fetched/bin/npx-cli.js" "$tools/bin/npx" ;;
    bun) ln -s bun "$tools/bin/bunx" ;;
    yarn) ln -s yarn "$tools/bin/yarnpkg" ;;
  esac
}

# Scripts may call bun although another manager installs.
provide_bun() {
  if [ -z "$bun" ]; then return; fi
  echo "-----> Fetching bun $bun"
  fetch_as bun "$bun" || fail "bun $bun cannot be fetched from here. Ask for another version in engines.bun of package.json."
  ln -s bun "$tools/bin/bunx"
}

declare -A folders=() # of what is linked: in the cache, or mounted by the node

# fetch_as NAME VERSION-OR-RANGE [DIGEST]: sets $fetched and $fetched_version, and links the program.
fetch_as() {
  local package program
  # A package whose digest the app names is fetched, and compared with it.
  if [ -z "${3:-}" ] && read -r fetched fetched_version < <(/usr/lib/buildfarm/tools find "$1" "$2"); then
    read -r package program < <(tool_package "$1" "$fetched_version")
    link_program "$1" "$program"
    return
  fi
  fetched_version=$2
  if [[ ! $2 =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
    # A range: which package it is, its first number says; any other is of the newest kind
    read -r package program < <(tool_package "$1" "$(grep -oE '[0-9]+' <<<"$2" | head -1 || true)")
    fetched_version=$(resolve_tool "$([ "$1" = pnpm ] && echo pnpm || echo "$package")" "$2")
    if [ -z "$fetched_version" ]; then return 1; fi
  fi
  read -r package program < <(tool_package "$1" "$fetched_version")
  fetched=$(fetch_tool "$package" "$fetched_version" "${3:-}") || return $?
  chmod u+x "$fetched/$program"
  link_program "$1" "$program"
}

link_program() { # NAME PROGRAM
  folders[$1]=$fetched
  ln -s "$fetched/$2" "$tools/bin/$1"
}
