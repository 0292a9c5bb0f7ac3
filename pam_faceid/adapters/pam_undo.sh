#!/bin/sh
# Takes the face out of PAM services when nothing else works, and undoes a change that nobody
# confirmed. POSIX shell and coreutils alone: no Python, no configuration, no key, no daemon.
#
#   faceid-pam-undo emergency-disable [--root DIR] [--dry-run] [--json]
#   faceid-pam-undo roll-back FOLDER [--all] [--after SECONDS]
#
# A copy lies in FOLDER while a change waits, so that neither an upgrade nor an uninstall takes the
# way back away. FOLDER/SERVICE/ holds `before`, `after.*` (each text that we wrote since) and
# `times`: when the change was made and until when it may be confirmed, seconds since the epoch.
set -u
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset CDPATH

RULES='pam_faceid\(\.so\|/hook\.py\)' # what the lines of either client hold
UNIT=faceid-pam-rollback
FAILED=0

say() {
    printf '%s\n' "$*"
    logger -t pam_faceid -p auth.notice -- "$*" 2>/dev/null || :
}
complain() {
    printf 'faceid-pam-undo: %s\n' "$*" >&2
    logger -t pam_faceid -p auth.err -- "$*" 2>/dev/null || :
    FAILED=1
}

# The file without our lines. Behind a rule that counts lines (`success=2`) ours become one that does
# nothing and counts as before: a jump must not land on pam_deny, or past it. Rules that go on in the
# next line are joined first.
without_face() {
    if grep -v '^[[:blank:]]*#' "$1" | sed -n '/\[[^]]*=[0-9]/,$p' | grep -q "$RULES"; then
        joined "$1" -e "\\,^[[:blank:]]*#.*$RULES,d" \
            -e "s,^\\([[:blank:]]*[^#[:blank:]]*\\)[[:blank:]][^#]*$RULES.*,\\1 [default=ignore] pam_deny.so,"
    else
        joined "$1" -e "\\,$RULES,d"
    fi
}

# One sed and no pipe: of a pipe only the last status counts, and half a file would pass for a whole.
joined() {
    text=$1
    shift
    sed -e ':more' -e '/^[^#]*\\$/{' -e '$!{' -e 'N' -e 's/\\\n/ /' -e 'b more' -e '}' -e '}' \
        "$@" -- "$text"
}

# Put a new text in the place of a service file: whole or not at all.
#   $1 the file, $2 what writes the text to its standard output, $3... its arguments
replace() {
    target=$1
    shift
    partial=${target%/*}/.${target##*/}.faceid-undo
    # cp first: the copy has the owner, mode and attributes of the file.
    if cp -p -- "$target" "$partial" && "$@" >"$partial" && sync "$partial" \
        && mv -f -- "$partial" "$target"; then
        sync "${target%/*}"
        return 0
    fi
    rm -f -- "$partial"
    return 1
}

# The same on a full disk: the shorter text over the longer one, which takes no new block.
overwrite() {
    for memory in /run /dev/shm /tmp; do
        # A folder of our own: in the others anybody may lay a link.
        folder=$(mktemp -d "$memory/faceid-undo.XXXXXX" 2>/dev/null) || continue
        shorter=$folder/text
        if without_face "$1" >"$shorter" 2>/dev/null \
            && [ "$(wc -c <"$shorter")" -le "$(wc -c <"$1")" ] \
            && ! grep -v '^[[:blank:]]*#' "$shorter" | grep -q "$RULES"; then
            dd if="$shorter" of="$1" conv=notrunc 2>/dev/null \
                && truncate -s "$(wc -c <"$shorter")" "$1" && sync "$1"
            done=$?
            rm -rf -- "$folder"
            return "$done"
        fi
        rm -rf -- "$folder"
    done
    return 1
}

keep_copy() {
    stamp=$(date +%Y%m%dT%H%M%S)
    for folder in var/backups/pam_faceid etc/pam_faceid/backups root; do
        mkdir -p "$ROOT/$folder" 2>/dev/null || continue
        copy=$ROOT/$folder/${1##*/}.$stamp.$$
        if cp -p -- "$1" "$copy" 2>/dev/null && cmp -s -- "$1" "$copy"; then
            chmod 600 "$copy"
            return 0
        fi
        rm -f -- "$copy" 2>/dev/null
    done
    copy='no copy: there was room nowhere'
    return 0
}

emergency_disable() {
    ROOT='' DRY_RUN=0 JSON=0
    while [ $# -gt 0 ]; do
        case $1 in
            --root)
                [ $# -gt 1 ] || usage
                ROOT=${2%/}
                shift
                ;;
            --dry-run) DRY_RUN=1 ;;
            --json) JSON=1 ;;
            *) usage ;;
        esac
        shift
    done
    if [ ! -d "$ROOT/etc/pam.d" ]; then
        complain "$ROOT/etc/pam.d is not there. Is the system mounted elsewhere? Then say where:" \
            "--root DIR"
        exit 3
    fi
    # What is said goes to people, the one document to standard output.
    exec 3>&1
    [ "$JSON" = 0 ] || exec >&2
    found=0 changed=false
    for file in "$ROOT"/etc/pam.d/*; do
        case $file in *.faceid-undo) continue ;; esac
        [ -f "$file" ] || continue
        grep -q "$RULES" "$file" || continue
        found=$((found + 1))
        # A link of another system leads to a file of that system.
        real=$(readlink -f "$file")
        case $real in "$ROOT"/*) file=$real ;; *) file=$ROOT$real ;; esac
        if [ "$DRY_RUN" = 1 ]; then
            say "$file: has the face; it would be taken out"
            continue
        fi
        if [ "$(id -u)" != 0 ]; then
            complain "changing $file needs root"
            exit 4
        fi
        keep_copy "$file"
        if replace "$file" without_face "$file" 2>/dev/null || overwrite "$file"; then
            changed=true
            say "$file: only the password again (before: $copy)"
        elif ! (: >"${file%/*}/.faceid-undo.$$") 2>/dev/null && is_read_only "${file%/*}"; then
            complain "$file cannot be written: the file system is read-only. Do this, then run it" \
                "again: mount -o remount,rw ${ROOT:-/}"
        else
            complain "$file cannot be written. By hand: sed -i '/pam_faceid/d' $file"
        fi
        rm -f -- "${file%/*}/.faceid-undo.$$" 2>/dev/null
    done
    [ "$DRY_RUN" = 1 ] || forget "$ROOT/etc/pam_faceid/pam-pending"
    [ "$found" -gt 0 ] || say "the face is in no service; nothing to do"
    [ "$JSON" = 0 ] || printf '{"changed": %s}\n' "$changed" >&3
    [ "$FAILED" = 0 ] || exit 3
}

is_read_only() {
    mounted=$(df -P "$1" 2>/dev/null | sed -n '$s/.* //p')
    while read -r _ place _ options _; do
        [ "$place" = "$mounted" ] || continue
        case ,$options, in *,ro,*) return 0 ;; esac
    done </proc/mounts
    return 1
}

# A change that waits to be undone could bring the face back.
forget() {
    [ -d "$1" ] || return 0
    for entry in "$1"/*/; do
        entry=${entry%/}
        [ -d "$entry" ] || continue
        grep -q "$RULES" "$ROOT/etc/pam.d/${entry##*/}" 2>/dev/null || rm -r -- "$entry"
    done
    end_timer "$1"
}

# Without anything that waits the timer goes, and the folder with this file in it.
end_timer() {
    for entry in "$1"/*/; do
        [ -d "$entry" ] && return 0
    done
    units=${1%/pam_faceid/pam-pending}/systemd/system
    if [ -e "$units/$UNIT.timer" ]; then
        rm -f -- "$units/timers.target.wants/$UNIT.timer" "$units/$UNIT.timer" \
            "$units/$UNIT.service" "${units%/etc/systemd/system}/var/lib/systemd/timers/stamp-$UNIT.timer"
        if [ "$units" = /etc/systemd/system ] && [ -d /run/systemd/system ]; then
            # The timer alone: this may run in the service that it started.
            systemctl --quiet stop "$UNIT.timer" 2>/dev/null || :
            systemctl daemon-reload 2>/dev/null || :
        fi
    fi
    rm -rf -- "$1"
}

roll_back() {
    FOLDER=${1%/} ALL=0 AFTER=''
    ROOT=${FOLDER%/etc/pam_faceid/pam-pending}
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --all) ALL=1 ;;
            --after)
                [ $# -gt 1 ] || usage
                AFTER=$2
                shift
                ;;
            *) usage ;;
        esac
        shift
    done
    [ -z "$AFTER" ] || sleep "$AFTER"
    [ -d "$FOLDER" ] || exit 0
    # Whoever confirms holds it for a moment. Whatever hangs, the way back must come.
    exec 9>>"$FOLDER/.lock"
    flock -w 30 9 2>/dev/null || :
    for entry in "$FOLDER"/*/; do
        entry=${entry%/}
        [ -d "$entry" ] || continue
        if is_due "$entry"; then roll_back_one "${entry##*/}" "$entry"; fi
    done
    end_timer "$FOLDER"
    [ "$FAILED" = 0 ] || exit 3
}

# A clock that stands before the time of the change was set back: nobody knows how long it waits.
is_due() {
    [ "$ALL" = 0 ] || return 0
    now=$(date +%s)
    made=0 until=0
    read -r made until <"$1/times" 2>/dev/null
    case $made:$until in *[!0-9:]* | :* | *:) return 0 ;; esac
    [ "$now" -ge "$until" ] || [ "$now" -lt "$made" ]
}

roll_back_one() {
    service=$1 entry=$2
    file=$ROOT/etc/pam.d/$service
    if [ ! -e "$file" ]; then
        say "$service: the file is gone, so nothing is undone"
    elif cmp -s -- "$file" "$entry/before"; then
        say "$service: is as it was before the change that nobody confirmed"
    elif is_ours "$file" "$entry"; then
        # `before` has owner and mode already; a link takes no room on a full disk.
        partial=${file%/*}/.$service.faceid-undo
        rm -f -- "$partial"
        if { ln -- "$entry/before" "$partial" 2>/dev/null || cp -p -- "$entry/before" "$partial"; } \
            && sync "$partial" && mv -f -- "$partial" "$file"; then
            sync "${file%/*}"
            say "$service: nobody confirmed the change in time: it is undone"
        else
            rm -f -- "$partial"
            complain "$service: the change that nobody confirmed cannot be undone yet"
            return
        fi
    elif grep -q "$RULES" "$file"; then
        keep_copy "$file"
        if replace "$file" without_face "$file" 2>/dev/null || overwrite "$file"; then
            say "$service: nobody confirmed the change in time, and somebody else changed the file" \
                "since: the face is taken out, the rest stays (before: $copy)"
        else
            complain "$service: the face cannot be taken out yet"
            return
        fi
    else
        say "$service: somebody else changed the file since, and it has no face: it stays"
    fi
    rm -r -- "$entry"
}

is_ours() {
    for text in "$2"/after.*; do
        cmp -s -- "$1" "$text" && return 0
    done
    return 1
}

usage() {
    sed -n '5,6s/^#  *//p' "$0" >&2
    exit 2
}

case ${1-} in
    emergency-disable)
        shift
        emergency_disable "$@"
        ;;
    roll-back)
        [ $# -gt 1 ] || usage
        shift
        roll_back "$@"
        ;;
    *) usage ;;
esac
