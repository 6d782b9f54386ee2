# fish completion of reforkctl(1). Its commands and options are what `reforkctl --help` tells, so that they agree; services,
# workers and failures are those of the reforkd that is asked, and none where there is no reforkd.

function __reforkctl_run
    timeout 5 $__reforkctl_program $argv 2>/dev/null </dev/null
end

# The entries of the help text on standard input whose names match: "name<tab>description"; with "valued" the names of
# the options that take a value.
function __reforkctl_entries --argument-names begin kind
    awk -v begin=$begin -v kind="$kind" '
        function tell() {
            n = split(names, all, ",")
            for (i = 1; i <= n; i++) print all[i] (kind == "" ? "\t" description : "")
            names = ""
        }
        /^[A-Z].*:$/ { tell(); section = $1 }
        /^  [^ ]/ && section != "Positionals:" {
            tell()
            if ($1 !~ begin || (kind == "valued" && $0 !~ /^  [^ ]+ [^ ]/)) next
            names = $1
            line = substr($0, 3)
            description = match(line, /   *[^ ]/) ? substr(line, RSTART + RLENGTH - 1) : ""
            next
        }
        names && /^ +[^ ]/ && description == "" { sub(/^ +/, ""); description = $0 }
        END { tell() }'
end

function __reforkctl_services
    __reforkctl_run $argv status --json | string match -rg '^ *"name": "(.*)",$'
end

function __reforkctl_workers
    __reforkctl_run $argv status --json | awk -v number=(commandline -ct) -F ': |,$' '
        $1 ~ /"name"/ { gsub(/"/, "", $2); service = $2 }
        $1 ~ /"id"/ && number ~ /^[0-9]/ && $2 != "null" { print $2 }
        $1 ~ /"slot"/ && $2 != "null" { print service "/" $2 }' | sort -u
end

function __reforkctl_failures
    __reforkctl_run $argv failures --json | string match -rg '^\{"id":"([^"]*)"'
end

# What the name stands for that the usage gives to a place.
function __reforkctl_argument --argument-names name
    set --erase argv[1]
    switch $name
        case FILE
            __fish_complete_path (commandline -ct)
        case ID
            __reforkctl_failures $argv
        case 'SERVICE/SLOT*'
            __reforkctl_workers $argv
        case 'SERVICE*SLOT*'
            __reforkctl_services $argv
            __reforkctl_workers $argv
        case SERVICE
            __reforkctl_services $argv
    end
end

function __reforkctl_complete
    set -l words (commandline -opc)
    set -g __reforkctl_program $words[1]
    set -l general (__reforkctl_run --help)
    set -l help $general
    set -l path
    set -l at
    set -l count 0
    set -l option ''
    for word in $words[2..]
        if test -n "$option"
            test $option = --control; and set at --control $word
            set option ''
        else if string match -q -- '--control=*' $word
            set at $word
        else if string match -q -- '-*' $word
            contains -- $word (string join \n $help $general | __reforkctl_entries '^-' valued); and set option $word
        else if contains -- $word (string join \n $help | __reforkctl_entries '^[a-z]' names)
            set -a path $word
            set help (__reforkctl_run $path --help)
        else
            set count (math $count + 1)
        end
    end

    set -l current (commandline -ct)
    if test -n "$option"
        switch $option
            case --control
                __fish_complete_path $current
            case --service
                __reforkctl_services $at
            case --kind
                string match -rg '^  --kind .*kind: (.*)' $help | string split ', '
        end
    else if string match -q -- '-*' $current
        string join \n $help $general | __reforkctl_entries '^-'
    else
        string join \n $help | __reforkctl_entries '^[a-z]'
        set -l usage (string match -rg '^Usage: (.*)' $help | string split ' ' | string match -rv '^\[?(OPTIONS|SUBCOMMAND)\]?$')
        set -l place (math 2 + (count $path) + $count)
        __reforkctl_argument (string replace -r '^\[(.*)\]$' '$1' -- $usage[$place])"" $at
    end
end

complete -c reforkctl -f -a '(__reforkctl_complete)'
