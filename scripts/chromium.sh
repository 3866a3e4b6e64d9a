#!/usr/bin/env bash
# The browser tests drive a real Chromium: find one, or say how to get it.
command -v chromium chromium-browser google-chrome >/dev/null && exit 0
echo "vitrine: the browser tests need Chromium. On Debian: apt-get update && apt-get install chromium" >&2
exit 1
