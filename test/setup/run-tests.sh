#!/usr/bin/env bash
# Runs vitest with the given arguments and ends with `N passed, N failed` as the last line of stdout. The exit code is 0
# only when vitest said so and nothing failed. With CI=true a test that was skipped has failed.
set -uo pipefail
cd "$(dirname "$0")/../.."

mkdir -p .make
result=.make/test-result.$$
trap 'rm -f "$result"' EXIT
VETHFLOW_TEST_RESULT=$result timeout --kill-after=10 "${VETHFLOW_TEST_SECONDS:-1440}" \
  node_modules/.bin/vitest run --reporter=default --reporter=test/setup/count-reporter.ts "$@" </dev/null
code=$?
passed=0
failed=0
if [ -s "$result" ]; then
  read -r passed failed <"$result"
else
  echo "vitest ended with $code before it had a result" >&2
fi
# What is no test and went wrong all the same: a crash, a timeout of the whole run.
if [ $code -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
echo "$passed passed, $failed failed"
[ $code -eq 0 ] && [ "$failed" -eq 0 ]
