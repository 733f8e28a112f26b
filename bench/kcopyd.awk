# Makes tables, verdicts and data for charts of what run-kcopyd.sh has timed.
# SPDX-License-Identifier: BSD-3-Clause
#
# Set: data (folder for the data of the charts), missed (file: the number of
# targets that were missed), mib (size of the source).  Input:
# round,scenario,subject,seconds,cpu_seconds, with a line of names first.

BEGIN {
  FS = ","
}

NR == 1 {
  next
}

{
  if (!(($2) in has_scenario)) {
    has_scenario[$2] = 1
    scenarios[++num_scenarios] = $2
  }
  if (!(($3) in has_subject)) {
    has_subject[$3] = 1
    subjects[++num_subjects] = $3
  }
  if ($1 + 0 > rounds)
    rounds = $1 + 0
  seconds[$2, $3, $1] = $4
  cpu[$2, $3, $1] = $5
  has[$2, $3] = 1
}

# Sorts v[1..n] and sets low, mid and high.
function sum_up(v, n,    i, j, x) {
  for (i = 2; i <= n; i++) {
    x = v[i]
    for (j = i - 1; j >= 1 && v[j] > x; j--)
      v[j + 1] = v[j]
    v[j + 1] = x
  }
  low = v[1]
  high = v[n]
  mid = n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function of_runs(from, scenario, subject,    r, v) {
  for (r = 1; r <= rounds; r++)
    v[r] = from[scenario, subject, r]
  sum_up(v, rounds)
}

function median(scenario, subject) {
  of_runs(seconds, scenario, subject)
  return mid
}

function table(scenario,    u, name, own, line) {
  printf "\n%s: seconds for %d MiB\n", scenario, mib
  printf "%-16s %8s %8s %8s %8s %9s %9s\n", "subject", "median", "least",
    "greatest", "CPU s", "MiB/s", "of kcopyd"
  own = (scenario, "kcopyd") in has ? median(scenario, "kcopyd") : 0
  for (u = 1; u <= num_subjects; u++) {
    name = subjects[u]
    if (!((scenario, name) in has))
      continue
    of_runs(seconds, scenario, name)
    printf "%s %f %f %f\n", name, mid, low, high > data "/" scenario
    line = sprintf("%-16s %8.3f %8.3f %8.3f", name, mid, low, high)
    own_ratio = own > 0 ? sprintf("%9.2f", mid / own) : ""
    speed = mib / mid
    of_runs(cpu, scenario, name)
    printf "%s %8.3f %9.0f %s\n", line, mid, speed, own_ratio
  }
  close(data "/" scenario)
}

function verdict(name, value, is_met, target, range,    word) {
  word = is_met ? "met" : "MISSED"
  if (!is_met)
    count_missed++
  printf "%-54s %5.2f  target %-9s %-6s  (%s)\n", name, value, target, word,
    range
}

# Of the ratios of two subjects, round by round, and that of their processor
# times.
function range_of(scenario, top, base,    r, v, text, top_cpu) {
  for (r = 1; r <= rounds; r++)
    v[r] = seconds[scenario, top, r] / seconds[scenario, base, r]
  sum_up(v, rounds)
  text = sprintf("rounds %.2f to %.2f", low, high)
  of_runs(cpu, scenario, top)
  top_cpu = mid
  of_runs(cpu, scenario, base)
  return mid > 0 ? sprintf("%s, by CPU %.2f", text, top_cpu / mid) : text
}

# Against the fastest of those that the target names.
function judge_one(scenario, subject,    i, n, name, best, time, own) {
  n = split("cp qemu-img nbdcopy", name, " ")
  for (i = 1; i <= n; i++) {
    if (!((scenario, name[i]) in has))
      continue
    if (best == "" || median(scenario, name[i]) < time) {
      best = name[i]
      time = median(scenario, best)
    }
  }
  if (best == "" || !((scenario, subject) in has))
    return
  own = median(scenario, subject)
  verdict(scenario ": " best " (the fastest) / " subject, time / own,
          time >= own, ">= 1.00", range_of(scenario, best, subject))
}

function judge_three(scenario,    one, three) {
  if (scenario !~ /^tmpfs/ || !((scenario, "kcopyd") in has) ||
      !((scenario, "kcopyd-3") in has))
    return
  one = median(scenario, "kcopyd")
  three = median(scenario, "kcopyd-3")
  verdict(scenario ": kcopyd to three / to one", three / one,
          three <= 2 * one, "<= 2.00",
          range_of(scenario, "kcopyd-3", "kcopyd"))
}

END {
  for (s = 1; s <= num_scenarios; s++)
    table(scenarios[s])
  print "\nmedians compared"
  for (s = 1; s <= num_scenarios; s++)
    judge_one(scenarios[s], "kcopyd")
  for (s = 1; s <= num_scenarios; s++)
    judge_three(scenarios[s])
  print count_missed + 0 > missed
}
