"""``spvnode completion``: the scripts that make shells ask ``spvnode __complete``."""

from __future__ import annotations

import click

BASH = r"""# spvnode completion bash > ~/.local/share/bash-completion/completions/spvnode
_spvnode() {
    # Not COMP_WORDS: bash would split them at = and : as well.
    local line=${COMP_LINE:0:COMP_POINT} value about prefix last
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    last=${words[${#words[@]}-1]}
    prefix=${last%"${last##*[=:]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r value about; do
        case $value in
            :files) compopt -o default 2>/dev/null ;;
            :dirs) compopt -o dirnames 2>/dev/null ;;
            :nospace) compopt -o nospace 2>/dev/null ;;
            *) COMPREPLY+=("${value#"$prefix"}") ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -F _spvnode spvnode
"""
ZSH = r"""#compdef spvnode
# spvnode completion zsh > "${fpath[1]}/_spvnode"
_spvnode() {
    local -a plain open
    local line value about nospace=0
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        value=${line%%$'\t'*} about=${line#*$'\t'}
        case $value in
            '') ;;
            :files) _files ;;
            :dirs) _files -/ ;;
            :nospace) nospace=1 ;;
            *=) open+=("${value//:/\\:}:$about") ;;
            *) plain+=("${value//:/\\:}:$about") ;;
        esac
    done
    (( $#open )) && _describe -t parameters parameter open -S ''
    (( $#plain )) && _describe -t values value plain
}
if [ "$funcstack[1]" = "_spvnode" ]; then _spvnode "$@"; else compdef _spvnode spvnode; fi
"""
FISH = r"""# spvnode completion fish > ~/.config/fish/completions/spvnode.fish
function __spvnode_complete
    set -l last (commandline -ct)
    set -l words (commandline -opc)
    for line in ($words[1] __complete $words[2..-1] "$last" 2>/dev/null)
        switch $line
            case ':files*' ':dirs*'
                __fish_complete_path "$last"
            case ':*'
            case '*'
                echo $line
        end
    end
end
complete -c spvnode -f -a '(__spvnode_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@click.command("completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(list(SCRIPTS)))
def command(shell: str) -> None:
    """Print the script that completes commands, options, networks, methods, peers and tokens in SHELL: bash,
    zsh or fish.

    Try it with `source <(spvnode completion bash)`; the script's first lines say where it is kept.
    """
    click.echo(SCRIPTS[shell], nl=False)
