# bash completion of reforkctl(1). Its commands and options are what `reforkctl --help` tells, so that they agree; services,
# workers and failures are those of the reforkd that is asked, and none where there is no reforkd.

_reforkctl_run() {
  timeout 5 "${reforkctl[@]}" "$@" 2>/dev/null </dev/null
}

# The options in a help text; with "valued" only those that take a value.
_reforkctl_options() {
  local after='.*'
  [ "${1-}" != valued ] || after=' [^ ].*'
  sed -n "s/^  \(-[^ ]*\)$after/\1/p" | tr ',' '\n'
}

_reforkctl_commands() {
  sed -n '/^Subcommands:/,/^$/s/^  \([^ ]*\).*/\1/p'
}

# SERVICE, or SERVICE/SLOT for each current worker; a worker's id where a number was begun.
_reforkctl_services() {
  _reforkctl_run "${at[@]}" status --json | sed -n 's/^ *"name": "\(.*\)",$/\1/p'
}
_reforkctl_workers() {
  _reforkctl_run "${at[@]}" status --json | awk -v number="$cur" -F ': |,$' '
    $1 ~ /"name"/ { gsub(/"/, "", $2); service = $2 }
    $1 ~ /"id"/ && number ~ /^[0-9]/ && $2 != "null" { print $2 }
    $1 ~ /"slot"/ && $2 != "null" { print service "/" $2 }' | sort -u
}
_reforkctl_failures() {
  _reforkctl_run "${at[@]}" failures --json | sed -n 's/^{"id":"\([^"]*\)".*/\1/p'
}

# What the name stands for that the usage gives to a place, or the option that a value is for.
_reforkctl_values() {
  case $1 in
    ID) _reforkctl_failures ;;
    SERVICE/SLOT*) _reforkctl_workers ;;
    SERVICE*SLOT*) _reforkctl_services; _reforkctl_workers ;;
    SERVICE | --service) _reforkctl_services ;;
    --kind) sed -n 's/^  --kind .*kind: //p' <<<"$help" | tr -d ',' ;;
  esac
}

_reforkctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} reforkctl=("${1/#\~/$HOME}") at=() path=() count=0 option='' word words
  local general help valued commands usage IFS=$' \t\n'
  general=$(_reforkctl_run --help)
  help=$general
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    valued=$(_reforkctl_options valued <<<"$help"$'\n'"$general")
    commands=$(_reforkctl_commands <<<"$help")
    if [ -n "$option" ]; then
      [ "$word" != = ] || continue
      [ "$option" != --control ] || at=(--control "${word/#\~/$HOME}")
      option=''
    elif [[ $word == -* ]]; then
      [[ $'\n'$valued$'\n' != *$'\n'$word$'\n'* ]] || option=$word
    elif [[ $'\n'$commands$'\n' == *$'\n'$word$'\n'* ]]; then
      path+=("$word")
      help=$(_reforkctl_run "${path[@]}" --help)
    else
      count=$((count + 1))
    fi
  done
  [ "$cur" != = ] || cur=''

  words=''
  if [[ -z $option && $cur == -* ]]; then
    words=$(_reforkctl_options <<<"$help"$'\n'"$general")
  elif [ -z "$option" ]; then
    words=$(_reforkctl_commands <<<"$help")
    usage=$(sed -n 's/^Usage: //p' <<<"$help" | tr ' ' '\n' | grep -v -e '^\[\?OPTIONS\]\?$' -e SUBCOMMAND)
    option=$(sed -n "$((2 + ${#path[@]} + count))p" <<<"$usage")
    [[ $option != \[* ]] || option=${option:1:-1}
  fi
  if [[ $option == FILE || $option == --control ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -W "$words"$'\n'"$(_reforkctl_values "$option")" -- "$cur")
  fi
}
complete -F _reforkctl reforkctl
