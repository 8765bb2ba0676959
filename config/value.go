package config

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// texts turns whatever a flag, a variable or YAML gives into the words that a
// person wrote, so that there is one way from a word to a value. It returns nil
// for a YAML key with nothing behind it, which counts as not given.
func texts(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string, bool, int, int64, uint64, float64:
		return []string{fmt.Sprint(v)}, nil
	case []string:
		return v, nil
	case []any:
		return list(v)
	}
	return nil, errors.New("it is neither a value nor a list of values")
}

func list(vs []any) ([]string, error) {
	out := []string{}
	for _, v := range vs {
		t, err := texts(v)
		if _, nested := v.([]any); nested || err != nil || len(t) != 1 {
			return nil, errors.New("it is a list of something other than values")
		}
		out = append(out, t[0])
	}
	return out, nil
}

// set checks the words and stores them in the field of the option.
func (o Option) set(words []string) error {
	if !o.Repeatable() && len(words) != 1 {
		return errors.New("it is a list, and there can be only one")
	}
	for _, w := range words {
		if o.check == nil {
			break
		}
		if err := o.check(w); err != nil {
			return err
		}
	}
	return o.store(words)
}

func (o Option) store(words []string) (err error) {
	switch f := o.field.(type) {
	case *[]string:
		*f = words
	case *string:
		*f = words[0]
	case *bool:
		if *f, err = strconv.ParseBool(words[0]); err != nil {
			return errors.New("it is neither")
		}
	case *int:
		if *f, err = strconv.Atoi(words[0]); err != nil {
			return errors.New("it is no number")
		}
	case *time.Duration:
		*f, err = time.ParseDuration(words[0])
	}
	return err
}

// words is the value in force, the inverse of set.
func (o Option) words() []string {
	switch f := o.field.(type) {
	case *[]string:
		return *f
	case *string:
		return []string{*f}
	case *bool:
		return []string{strconv.FormatBool(*f)}
	case *int:
		return []string{strconv.Itoa(*f)}
	case *time.Duration:
		return []string{f.String()}
	}
	return nil
}

// shown is a word as it may be printed.
func (o Option) shown(word string) string {
	if o.redact != nil {
		return o.redact(word)
	}
	return word
}
