package main

import (
	"bytes"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/pin"
)

// A list of images is the same JSON as any other result.
func TestListAsJSON(t *testing.T) {
	i := &pin.Image{Root: cid.MustParse("bafkqaaa"), Name: "<one>"}
	for _, all := range [][]*pin.Image{{}, {i}, {i, i}} {
		var got, want bytes.Buffer
		if err := (&cli{out: &want}).result(true, all, nil); err != nil {
			t.Fatal(err)
		}
		err := writeImagesJSON(&got, func(yield func(*pin.Image, error) bool) {
			for i := range slices.Values(all) {
				if !yield(i, nil) {
					return
				}
			}
		})
		if err != nil || got.String() != want.String() {
			t.Errorf("%d images are %s, %v; want %s", len(all), &got, err, &want)
		}
	}
}
