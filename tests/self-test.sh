#!/usr/bin/env bash
# The tests of the sources notice what they are for.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bash "$here/check-floors.sh" --self-test
bash "$here/tidy.sh" --self-test
bash "$here/symbols.sh" --self-test
