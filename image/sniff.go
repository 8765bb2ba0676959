package image

import (
	"bytes"
	"unicode/utf8"
)

const (
	jsonDocument = "a JSON document"
	tarArchive   = "a tar archive"
)

// sniff says what a file that begins with head looks like, for an error that a
// person reads. Nothing is decided by it but whether JSON is worth parsing.
func sniff(head []byte) string {
	trimmed := bytes.TrimLeft(head, " \t\r\n")
	switch {
	case len(trimmed) > 0 && trimmed[0] == '{':
		return jsonDocument
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "a gzip file"
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "a zstd file"
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		return tarArchive
	case len(head) == 0:
		return "an empty file"
	case utf8.Valid(head) && !bytes.ContainsRune(head, 0):
		return "a text file"
	default:
		return "a binary file"
	}
}
