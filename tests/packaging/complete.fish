# fish --no-config complete.fish COMPLETIONS LINE...: "> LINE" for each, and what TAB offers at its end, one a line.
source $argv[1]
for line in $argv[2..]
    echo "> $line"
    complete -C $line | string replace -r '\t.*' ''
end
exit 0
