# Makes tables, verdicts and data for charts of what bench/dm-io has printed.
# SPDX-License-Identifier: BSD-3-Clause
#
# Set: data (folder for the data of the charts), missed (file: the number of
# targets that were missed).  Input: label,bytes,threads,round,regions,
# subject,calls_per_second,cpu_us_per_call, with a line of names first.

BEGIN {
  FS = ","
}

NR == 1 {
  next
}

{
  set = $1 "," $2 "," $3
  if (!(set in has_set)) {
    has_set[set] = 1
    sets[++num_sets] = set
  }
  if (!(($6) in has_subject) && $6 != "pwrite") {
    has_subject[$6] = 1
    subjects[++num_subjects] = $6
  }
  if ($4 + 0 > rounds)
    rounds = $4 + 0
  if ($5 + 0 > most)
    most = $5 + 0
  rate[set, $5, $6, $4] = $7
  cpu[set, $5, $6, $4] = $8
  has[set, $5, $6] = 1
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

# Of one subject on N regions; FROM: rate or cpu.
function of_runs(from, set, n, subject,    r, v) {
  for (r = 1; r <= rounds; r++)
    v[r] = from[set, n, subject, r]
  sum_up(v, rounds)
}

# Of the ratios of two subjects, round by round.
function of_ratios(from, set, n, top, m, base,    r, v) {
  for (r = 1; r <= rounds; r++)
    v[r] = from[set, n, top, r] / from[set, m, base, r]
  sum_up(v, rounds)
}

function describe(set,    part) {
  split(set, part, ",")
  return sprintf("%s, %d bytes, %d thread%s", part[1], part[2], part[3],
                 part[3] == 1 ? "" : "s")
}

# The table of one subject against pwrite; the data of its chart.
function table(set, subject,    n, file, alone) {
  printf "\n%s: %s against pwrite, calls a second\n", describe(set), subject
  printf "%7s %29s %29s %6s %13s %6s %6s\n", "", subject, "pwrite, N times",
    "", "", "by", "to one"
  printf "%7s %9s %9s %9s %9s %9s %9s %6s %13s %6s %6s\n", "regions",
    "median", "least", "greatest", "median", "least", "greatest", "ratio",
    "(rounds)", "CPU", "pwrite"
  file = set
  gsub(",", "-", file)
  file = data "/" file "-" subject
  alone = (set, 1, "pwrite") in has
  for (n = 1; n <= most; n++) {
    if (!((set, n, subject) in has) || !((set, n, "pwrite") in has))
      continue
    of_runs(rate, set, n, subject)
    printf "%7d %9.0f %9.0f %9.0f", n, mid, low, high
    printf "%d %f %f %f", n, mid, low, high > file
    of_runs(rate, set, n, "pwrite")
    printf " %9.0f %9.0f %9.0f", mid, low, high
    printf " %f %f %f\n", mid, low, high > file
    of_ratios(rate, set, n, subject, n, "pwrite")
    printf " %6.2f  %5.2f-%-5.2f", mid, low, high
    of_ratios(cpu, set, n, "pwrite", n, subject)
    printf " %6.2f", mid
    if (alone) {
      of_ratios(rate, set, n, subject, 1, "pwrite")
      printf " %6.2f", mid
    }
    printf "\n"
  }
  close(file)
}

function verdict(name, value, target, range,    word) {
  word = value >= target ? "met" : "MISSED"
  if (word == "MISSED")
    count_missed++
  printf "%-48s %5.2f  target %4.2f  %-6s  (%s)\n", name, value, target, word,
    range
}

# Buffered: every number of regions counts alike.  Direct: two regions.
function judge(set,    n, r, count, v, worst, worst_n) {
  if (!has_subject["dm-io"])
    return
  if (set ~ /direct/) {
    if (set !~ /,4096,16$/ || !((set, 2, "dm-io") in has))
      return
    of_ratios(rate, set, 2, "dm-io", 2, "pwrite")
    verdict(describe(set) ", 2 regions", mid, 1.2,
            sprintf("rounds %.2f to %.2f", low, high))
    return
  }
  if (set !~ /,4096,/)
    return
  for (n = 1; n <= most; n++) {
    if (!((set, n, "dm-io") in has))
      continue
    of_ratios(rate, set, n, "dm-io", n, "pwrite")
    if (!worst_n || mid < worst) {
      worst = mid
      worst_n = n
    }
    for (r = 1; r <= rounds; r++)
      v[++count] = rate[set, n, "dm-io", r] / rate[set, n, "pwrite", r]
  }
  sum_up(v, count)
  verdict(describe(set), mid, 0.95,
          sprintf("least %.2f, of %d", worst, worst_n))
}

END {
  for (s = 1; s <= num_sets; s++)
    for (u = 1; u <= num_subjects; u++)
      table(sets[s], subjects[u])
  print "\ndm-io / the same writes by pwrite, one after the other"
  for (s = 1; s <= num_sets; s++)
    judge(sets[s])
  print count_missed + 0 > missed
}
