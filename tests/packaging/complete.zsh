# zsh -f complete.zsh COMPLETIONS LINE...: "> LINE" for each, and what TAB offers at its end, one a line. An interactive zsh on a
# terminal of its own completes; what is given to its compadd is taken down.
zmodload zsh/zpty

function prepare() {
  seen=$1
  fpath=($2 $fpath)
  autoload -Uz compinit && compinit -D -u
  compadd() {
    local -a given
    if (( ! ${@[(I)-[OAD]]} )); then
      builtin compadd -O given "$@"
      print -rl -- $given >>$seen
    fi
    builtin compadd "$@"
  }
  show-choices() {
    print -r -- "> $BUFFER" >>$seen
    zle list-choices
    zle kill-buffer
    print 'COMPLETED' >/dev/tty
  }
  zle -N show-choices
  bindkey '^I' show-choices
}

seen=$(mktemp)
zpty shell zsh -f -i
zpty -w shell "$(functions prepare); prepare ${(q)seen} ${(q)1:h}; print REA''DY"
zpty -r -m shell said '*READY*'
for line in ${@[2,-1]}; do
  zpty -n -w shell $line$'\t'
  zpty -r -m shell said '*COMPLETED*'
done
zpty -d shell
cat $seen
rm $seen
