package config

import "strings"

// suggest says what to write instead of a name that nothing has.
func suggest(name string, known []string) string {
	best, distance := "", len(name)/2+1
	for _, k := range known {
		if d := edits(name, k); k != "" && d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return "remove it, or see docs/configuration.md for what there is"
	}
	return "did you mean " + best + "?"
}

// maxName bounds the names that edits compares, whose time is their product.
const maxName = 64

// edits counts the letters to change, add or drop between two names, whatever
// their case (Levenshtein's distance).
func edits(a, b string) int {
	if len(a) > maxName || len(b) > maxName {
		return maxName
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
