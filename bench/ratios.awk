# Makes tables and verdicts of single figures.
# SPDX-License-Identifier: BSD-3-Clause
#
# Set: targets (file, see below), missed (file: the number of targets that
# were missed).  Input: round,part,subject,metric,value, with a line of names
# first.
#
# A target is a line of words: part metric top base relation number.  Compared
# is the median of the ratios of top and base, round by round, or for a base
# of "-" the median of top alone.  The relation is ">=" or "<=", or "-" where
# there is no target and the figure is only told.

BEGIN {
  FS = ","
}

NR == 1 {
  next
}

{
  if (!(($2) in has_part)) {
    has_part[$2] = 1
    parts[++num_parts] = $2
  }
  if (!(($2, $3) in has_subject)) {
    has_subject[$2, $3] = 1
    subjects[$2, ++num_subjects[$2]] = $3
  }
  if (!(($2, $4) in has_metric)) {
    has_metric[$2, $4] = 1
    metrics[$2, ++num_metrics[$2]] = $4
  }
  if ($1 + 0 > rounds)
    rounds = $1 + 0
  value[$2, $3, $4, $1] = $5
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

# Of one subject.  Returns in how many rounds it was measured.
function of_runs(part, subject, metric,    r, n, v) {
  for (r = 1; r <= rounds; r++)
    if ((part, subject, metric, r) in value)
      v[++n] = value[part, subject, metric, r]
  if (n)
    sum_up(v, n)
  return n + 0
}

# Of the ratios of two, round by round.
function of_ratios(part, top, base, metric,    r, n, v) {
  for (r = 1; r <= rounds; r++)
    if ((part, top, metric, r) in value && (part, base, metric, r) in value &&
        value[part, base, metric, r] > 0)
      v[++n] = value[part, top, metric, r] / value[part, base, metric, r]
  if (n)
    sum_up(v, n)
  return n + 0
}

function figure(x) {
  return sprintf(x >= 1000 ? "%.0f" : x >= 10 ? "%.1f" : "%.3f", x)
}

function table(part,    s, m, name, metric) {
  printf "\n%s\n%-16s %-20s %10s %10s %10s\n", part, "subject", "figure",
    "median", "least", "greatest"
  for (s = 1; s <= num_subjects[part]; s++)
    for (m = 1; m <= num_metrics[part]; m++) {
      name = subjects[part, s]
      metric = metrics[part, m]
      if (of_runs(part, name, metric))
        printf "%-16s %-20s %10s %10s %10s\n", name, metric, figure(mid),
          figure(low), figure(high)
    }
}

function judge(part, metric, top, base, relation, target,    n, word, name) {
  name = part ": " metric " of " top (base == "-" ? "" : " / " base)
  if (base == "-")
    n = of_runs(part, top, metric)
  else
    n = of_ratios(part, top, base, metric)
  if (!n)
    return
  if (relation == "-") {
    printf "%-52s %8s  (rounds %s to %s)\n", name, figure(mid), figure(low),
      figure(high)
    return
  }
  word = (relation == ">=" ? mid >= target : mid <= target) ? "met" : "MISSED"
  if (word == "MISSED")
    count_missed++
  printf "%-52s %8s  target %s %s %-6s  (rounds %s to %s)\n", name,
    figure(mid), relation, target, word, figure(low), figure(high)
}

END {
  for (p = 1; p <= num_parts; p++)
    table(parts[p])
  print ""
  while ((getline line < targets) > 0) {
    split(line, word, " ")
    judge(word[1], word[2], word[3], word[4], word[5], word[6])
  }
  print count_missed + 0 > missed
}
