package config

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// keeping are the settings of what is kept and what may be served.
func keeping(s *Settings) []Option {
	serve := []string{"serve"}
	remote := []string{"remote"}
	policed := []string{"serve", "pin", "pull"}
	return []Option{
		{Name: "pin.on_pull", Arg: "WHAT", field: &s.PinOnPull, Verbs: serve, Default: "all",
			Doc:     "Whether the images that clients pull are kept: what was pulled of each, completed in the background.",
			Allowed: "all or none", check: oneOf("all", none)},
		{Name: "pin.retain", Arg: "DURATION", field: &s.PinRetain, Verbs: serve, Default: "0s",
			Doc:     "How long an image that was pulled is kept after its last pull; 0 means until there is no room.",
			Allowed: "a duration such as 720h, or 0", check: duration},
		{Name: "pin.quota", Arg: "SIZE", field: &s.PinQuota, Verbs: serve, Default: "0",
			Doc:     "How many bytes the images may take together, what they share counted once; those pulled least recently make room, those pinned by name never; 0 means no limit.",
			Allowed: "a size such as 500GB or 64GiB, or 0", check: size},
		{Name: "pin.scrub_interval", Arg: "DURATION", field: &s.ScrubInterval, Verbs: serve, Default: "720h",
			Doc:     "How often each image that is kept is verified in the background, every block of it read from the disk; 0 means never.",
			Allowed: "a duration such as 168h, or 0", check: duration},
		{Name: "pin.scrub_rate", Arg: "SIZE", field: &s.ScrubRate, Verbs: serve, Default: "10MB",
			Doc:     "How many bytes that verification reads in a second.",
			Allowed: "a size such as 10MB", check: someBytes},
		{Name: "pin.max_image_size", Arg: "SIZE", field: &s.MaxImageSize, Verbs: policed, Default: "0",
			Doc:     "How many bytes an image may have to be served or kept; 0 means no limit.",
			Allowed: "a size such as 20GB, or 0", check: size},
		{Name: "pin.service", Arg: "URL", field: &s.PinService, Verbs: remote, AlsoFlag: "service",
			Doc:     "The endpoint of the pinning service that \"pin remote\" talks to, one that speaks the IPFS Pinning Service API.",
			Allowed: "an https:// URL, or an http:// URL of this host", check: serviceURL, redact: hideCredentials},
		{Name: "pin.service_token_file", Arg: "FILE", field: &s.PinServiceTokenFile, Verbs: remote, AlsoFlag: "token-file",
			Doc:     "A file whose content is the access token of that service.",
			Allowed: "a file"},
		{Name: "pin.service_token", field: &s.PinServiceToken, Verbs: remote, Secret: true, NotInFile: true,
			Doc:     "The access token of that service itself, when there is no file.",
			Allowed: "a token", redact: func(string) string { return "(hidden)" }},
		{Name: "policy.serve", Arg: "WHAT", field: &s.PolicyServe, Verbs: policed, Default: "any",
			Doc:     "Which images are served: any, only those that are pinned here, or only those that policy.list lists, which are then also the only ones that can be pinned or pulled.",
			Allowed: "any, pinned or list", check: oneOf("any", "pinned", "list")},
		{Name: "policy.list", Arg: "FILE", field: &s.PolicyList, Verbs: policed,
			Doc:     "The file with the root CIDs and manifest digests that policy.serve=list serves, one on a line; read again when it changes.",
			Allowed: "a file"},
		{Name: "policy.key", Arg: "FILE", field: &s.PolicyKey, Verbs: policed,
			Doc:     "A file with public keys, PEM, by one of which cosign has to have signed an image that is kept or served, with the signature in the image's layout or referrers.",
			Allowed: "a file"},
		{Name: "gc.watermark", Arg: "PERCENT", field: &s.GCWatermark, Verbs: serve, Default: "90",
			Doc:     "How full the disk of the repository may be, as df says, before what nothing needs is removed, and after that the images pulled least recently; 0 means never.",
			Allowed: "a whole number from 0 to 100", check: percent},
	}
}

// serviceURL refuses what would send a token in the clear.
func serviceURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return errors.New("it is no URL of a service")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return errors.New("a token goes over https only, or to this host")
}

func percent(s string) error {
	if n, err := strconv.Atoi(s); err != nil || n < 0 || n > 100 {
		return errors.New("it is no number from 0 to 100")
	}
	return nil
}

func size(s string) error {
	_, err := parseSize(s)
	return err
}

// someBytes is size without 0.
func someBytes(s string) error {
	if n, err := parseSize(s); err != nil || n == 0 {
		return errors.New("it is no size in bytes above 0")
	}
	return nil
}

func parseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(strings.TrimSpace(s))
	if err != nil || n > 1<<62 {
		return 0, errors.New("it is no size in bytes")
	}
	return int64(n), nil
}

// IsSize reports whether a size can be read.
func IsSize(s string) bool { return size(s) == nil }

// Bytes is a size of the settings in bytes. It has been checked.
func Bytes(s string) int64 {
	n, err := parseSize(s)
	if err != nil {
		return 0
	}
	return n
}

func duration(s string) error {
	if d, err := time.ParseDuration(s); err != nil || d < 0 {
		return errors.New("it is no duration")
	}
	return nil
}
