# bash complete.bash COMPLETIONS LINE...: "> LINE" for each, and what TAB offers at its end, one a line.
source "$1"
handler=$(complete -p reforkctl | sed 's/.*-F \([^ ]*\).*/\1/')
for line in "${@:2}"; do
  # As readline splits it; "=" is a word of its own.
  read -r -a COMP_WORDS <<<"${line//=/ = }"
  [[ $line != *[[:space:]=] ]] || COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
  "$handler" reforkctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
  printf '%s\n' "> $line" "${COMPREPLY[@]}"
done
