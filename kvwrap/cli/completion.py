"""`kvwrap completion`: a shell's completion of commands, options, files and URLs."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from kvwrap.cli.codes import DONE
from kvwrap.cli.main import PROGRAM, create_app
from kvwrap.cli.output import write_text
from kvwrap.core.registry import STORES

_FILES: Final = 'COMPREPLY=( $(compgen -f -- "${cur}") )'
"""How cyclopts completes the name of a file in bash."""

_STATE: Final = re.compile(r"( --state\)\n +)COMPREPLY=\(\)")
"""How it completes nothing for the option that is a file."""

_PLACES: Final = r"""
# Complete a file, a folder, the scheme of a URL, or the path in the URL of a store of files.
_kvwrap_place() {
  local start="" rest="$1" found
  COMPREPLY=()
  case "$1" in
    sqlite:///*) start="sqlite:///" rest="${1#sqlite:///}" ;;
    lmdb:///* | file-tree:///*) start="${1%%:*}://" rest="${1#*://}" ;;
    *)
      while IFS= read -r found; do
        COMPREPLY+=("$found://")
      done < <(compgen -W "SCHEMES" -- "${1%%:*}")
      [[ "$1" == *:* ]] && COMPREPLY=()
      ;;
  esac
  while IFS= read -r found; do
    [[ -d "$found" ]] && found+="/"
    printf -v found '%q' "$found"
    COMPREPLY+=("$start$found")
  done < <(compgen -f -- "$rest")
  [[ "${COMPREPLY[0]}" == *[/] ]] && type compopt &>/dev/null && compopt -o nospace
  return 0
}

# bash breaks words at colons, as in URLs: put them together, and return what follows the last one.
_kvwrap_words() {
  local -a words=()
  local i index=0 glued=0 word
  for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
    word="${COMP_WORDS[i]}"
    if ((i > 1)) && [[ $glued == 1 && -n "$word" || "$word" == :* ]]; then
      words[${#words[@]} - 1]+="$word"
      glued=0
      [[ "$word" == *: ]] && glued=1
    else
      words+=("$word")
      glued=0
    fi
    ((i == COMP_CWORD)) && index=$((${#words[@]} - 1))
  done
  local cut="${words[index]}" each
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$index
  _kvwrap
  [[ "$cut" == *:* && "$COMP_WORDBREAKS" == *:* ]] || return 0
  cut="${cut%:*}:"
  for each in "${!COMPREPLY[@]}"; do
    COMPREPLY[each]="${COMPREPLY[each]#"$cut"}"
  done
}

complete -F _kvwrap_words kvwrap
"""


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"], Parameter(name="SHELL", help="The shell.")
    ],
    /,
) -> int:
    """Print the script by which a shell completes words.

    These are commands, options, files and URLs.

    For bash, put this into ~/.bashrc: eval "$(kvwrap completion bash)"
    """
    script = create_app().generate_completion(prog_name=PROGRAM, shell=shell)
    if shell == "bash":
        places = _PLACES.replace("SCHEMES", " ".join(sorted(STORES)))
        script = script.replace(_FILES, '_kvwrap_place "${cur}"')
        script = _STATE.sub(r'\1_kvwrap_place "${cur}"', script) + places
    write_text(script)
    return DONE
