#!/bin/sh
# What berth-init replaces: an init container of alpine/git that puts a private repository on the volume.
# Its faults are real ones, kept here so that tests can show each beside what berth does instead.
#   REPO_URL     http(s)://host/owner/name.git
#   GITHUB_PAT   the token
#   TARGET       the volume
#   CREDENTIALS  the CLI's login as the Secret has it
set -e
authenticated=$(printf '%s' "$REPO_URL" | sed "s|://|://x-access-token:${GITHUB_PAT}@|")

if [ -d "$TARGET/.git" ]; then
  cd "$TARGET"
  git pull "$authenticated"
else
  rm -rf "$TARGET"/* "$TARGET"/.[!.]* 2>/dev/null || true
  git clone "$authenticated" "$TARGET"
fi
if [ -f "$CREDENTIALS" ]; then
  cp "$CREDENTIALS" "$TARGET/.credentials.json"
fi
rm -rf "$TARGET/.git"
