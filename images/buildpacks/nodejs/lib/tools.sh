# Sourced by compile: fetches Node and package managers as packages of npm's registry, with the builder's own npm.
# It needs $cache, $config and $builder_path.

# npm without what the app says of its own use of Node: a file that NODE_OPTIONS loads is not there yet. What it fetches is kept
# unpacked, and not as an archive too; nothing of it is left in the home folder, which is the app.
outer_npm() {
  timeout 300 env --unset=NODE_OPTIONS --unset=NODE_ENV PATH="$builder_path" npm --cache /tmp/nodejs.npm --logs-max=0 --no-update-notifier \
    --ignore-scripts --loglevel=error "$@"
}

# resolve_tool PACKAGE RANGE: the newest version in the range, as it was today.
resolve_tool() {
  source /usr/lib/buildfarm/once-a-day
  once_a_day "$cache" "$config" "$1@$2" newest_tool "$1@$2"
}

newest_tool() { # PACKAGE@RANGE
  (cd / && outer_npm view --json "$1" version 2>/dev/null) |
    jq -r 'if type == "array" then .[] else . end | strings' | grep -v -- - | sort -V | tail -1
}

# fetch_tool PACKAGE VERSION [DIGEST]: prints the folder of this exact version's package. DIGEST is ALGORITHM.HEX of its archive.
fetch_tool() {
  local folder="$cache/tools/${1//\//+}-$2${3:+-${3: -12}}" archive
  if [ ! -f "$folder/package.json" ]; then
    rm -rf "$folder.new" && mkdir -p "$folder.new"
    archive=$(cd "$folder.new" && outer_npm pack --silent "$1@$2" 2>/dev/null | tail -1) || return 1
    [ -f "$folder.new/$archive" ] || return 1
    verify_tool "$folder.new/$archive" "${3:-}" || return 2
    tar --extract --gzip --file "$folder.new/$archive" --strip-components 1 --no-same-owner --directory "$folder.new"
    rm "$folder.new/$archive"
    slim_tool "$folder.new"
    rm -rf "$folder" && mv "$folder.new" "$folder"
  fi
  echo "$folder"
}

verify_tool() { # ARCHIVE DIGEST; Yarn's digest is that of its program
  local algorithm=${2%%.*} hex=${2#*.}
  if [ -z "$2" ]; then return 0; fi
  case $algorithm in sha1 | sha224 | sha256 | sha384 | sha512) ;; *) return 1 ;; esac
  [ "$("${algorithm}sum" <"$1" | cut -d' ' -f1)" = "$hex" ] ||
    [ "$(tar --extract --gzip --to-stdout --file "$1" package/bin/yarn.js 2>/dev/null | "${algorithm}sum" | cut -d' ' -f1)" = "$hex" ]
}

slim_tool() { # without symbols, and OpenSSL's headers of other processors
  if [ -f "$1/bin/node" ]; then
    strip --strip-all "$1/bin/node" 2>/dev/null || true
    find "$1/include/node/openssl/archs" -mindepth 1 -maxdepth 1 ! -name "linux-$(uname -m)" -exec rm -r {} + 2>/dev/null || true
  fi
}

# tool_package NAME VERSION: the package that holds this package manager, and where its program is in it.
tool_package() {
  local machine=x64
  if [ "$(uname -m)" = aarch64 ]; then machine=arm64; fi
  case $1:${2%%.*} in
    bun:*) if [ $machine = x64 ]; then echo @oven/bun-linux-x64-baseline bin/bun; else echo @oven/bun-linux-aarch64 bin/bun; fi ;;
    yarn:[01]) echo yarn bin/yarn.js ;;
    yarn:*) echo @yarnpkg/cli-dist bin/yarn.js ;;
    pnpm:[1-9] | pnpm:10) echo pnpm bin/pnpm.cjs ;;
    pnpm:11) echo pnpm bin/pnpm.mjs ;;
    pnpm:*) echo "@pnpm/exe.linux-$machine" pnpm ;;
    npm:*) echo npm bin/npm-cli.js ;;
    node:*) echo "node-linux-$machine" bin/node ;;
  esac
}
