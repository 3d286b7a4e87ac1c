package wire

import (
	"encoding/binary"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/durable"
)

// magic starts every hello, so that a stray client is told apart at once.
const magic = "plexus\r\n"

// Limits of what a hello may hold.
const (
	MaxHello    = 64 << 10 // bytes of the body
	MaxServices = 1024
	MaxName     = 64       // bytes of the names of networks and services
	MaxWindow   = 16 << 20 // bytes of a window; larger claims are cut down, since they are paid for by the sender
)

// A Service is a service as it stands in a hello.
type Service struct {
	conn.Service
	Window  uint32 // bytes of it that may be under way to the sender of the hello
	Private bool   // messages may be sent to it, but it is nobody's counterpart
}

// A Hello is the first frame that each side sends.
type Hello struct {
	MinVersion, MaxVersion uint16
	Network                string
	Instance               uint64 // drawn anew whenever the node starts
	MaxMessage             uint32 // largest payload that the sender takes
	RoutedWindow           uint32 // bytes of routed messages that may be under way to it
	Services               []Service
	// Session is what the sender offers for a durable link; no epoch: it wants
	// none. Resume is what it offers for those that it has, or may have, with the
	// receiver already. Said counts what the sender has said to anybody. Renew:
	// the sender has lost the connection that carried the session, or wants to
	// move it.
	Session durable.Offer
	Resume  []durable.Offer
	Said    uint64
	Renew   bool
}

const sessionSize = durable.OfferSize + 8 + 1

// MaxResume is how many sessions a hello may offer to resume.
const MaxResume = 4

// The fields of a hello, each as tag, length and value. Unknown ones are
// skipped, so that later versions can add to them.
const (
	fieldVersions = iota + 1
	fieldNetwork
	fieldInstance
	fieldLimits
	fieldServices
	fieldSession
	fieldResume
)

// AppendHello appends a whole frame.
func AppendHello(dst []byte, h *Hello) []byte {
	return appendFrame(dst, TypeHello, func(dst []byte) []byte {
		dst = append(dst, magic...)
		dst = append(dst, fieldVersions, 0, 4)
		dst = binary.BigEndian.AppendUint16(dst, h.MinVersion)
		dst = binary.BigEndian.AppendUint16(dst, h.MaxVersion)
		dst = append(dst, fieldNetwork)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(h.Network)))
		dst = append(dst, h.Network...)
		dst = append(dst, fieldInstance, 0, 8)
		dst = binary.BigEndian.AppendUint64(dst, h.Instance)
		dst = append(dst, fieldLimits, 0, 8)
		dst = binary.BigEndian.AppendUint32(dst, h.MaxMessage)
		dst = binary.BigEndian.AppendUint32(dst, h.RoutedWindow)
		services := appendServices(nil, h.Services)
		dst = append(dst, fieldServices)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(services)))
		dst = append(dst, services...)
		return appendSessions(dst, h)
	})
}

func appendSessions(dst []byte, h *Hello) []byte {
	if !h.Session.Epoch.IsZero() {
		dst = durable.AppendOffer(append(dst, fieldSession, 0, sessionSize), h.Session)
		dst = binary.BigEndian.AppendUint64(dst, h.Said)
		renew := byte(0)
		if h.Renew {
			renew = 1
		}
		dst = append(dst, renew)
	}
	if len(h.Resume) == 0 {
		return dst
	}
	dst = append(dst, fieldResume, 0, byte(len(h.Resume)*durable.OfferSize))
	for _, o := range h.Resume {
		dst = durable.AppendOffer(dst, o)
	}
	return dst
}

// AppendServices appends a frame that replaces the services of the hello.
func AppendServices(dst []byte, services []Service) []byte {
	return appendFrame(dst, TypeServices, func(dst []byte) []byte { return appendServices(dst, services) })
}

func appendServices(dst []byte, services []Service) []byte {
	for _, s := range services {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Version)
		dst = binary.BigEndian.AppendUint32(dst, s.Window)
		private := byte(0)
		if s.Private {
			private = 1
		}
		dst = append(dst, private, byte(len(s.Name)))
		dst = append(dst, s.Name...)
	}
	return dst
}

// ServicesSize returns how many bytes services take on the wire: at most
// 65535 fit.
func ServicesSize(services []Service) int { return len(appendServices(nil, services)) }

// ParseHello reads the body of a hello.
func ParseHello(b []byte) (*Hello, error) {
	if len(b) > MaxHello+1024 {
		return nil, malformed("hello of %d bytes, at most %d are allowed", len(b), MaxHello+1024)
	}
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return nil, malformed("hello without the plexus magic: the other end does not speak plexus")
	}
	h := &Hello{}
	seen := 0
	for b = b[len(magic):]; len(b) > 0; {
		if len(b) < 3 {
			return nil, malformed("hello ends within a field")
		}
		tag, n := b[0], int(binary.BigEndian.Uint16(b[1:]))
		if n > len(b)-3 {
			return nil, malformed("field %d of a hello has %d bytes and %d are left", tag, n, len(b)-3)
		}
		if tag <= fieldResume {
			if seen&(1<<tag) != 0 {
				return nil, malformed("field %d of a hello is there twice", tag)
			}
			seen |= 1 << tag
		}
		if err := h.field(tag, b[3:3+n]); err != nil {
			return nil, err
		}
		b = b[3+n:]
	}
	const required = 1<<fieldVersions | 1<<fieldNetwork | 1<<fieldInstance | 1<<fieldLimits
	if seen&required != required {
		return nil, malformed("hello lacks a required field")
	}
	return h, nil
}

func (h *Hello) field(tag byte, v []byte) error {
	want := map[byte]int{fieldVersions: 4, fieldInstance: 8, fieldLimits: 8}[tag]
	if len(v) < want {
		return malformed("field %d of a hello has %d bytes, want %d", tag, len(v), want)
	}
	switch tag {
	case fieldVersions:
		h.MinVersion, h.MaxVersion = binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(v[2:])
	case fieldNetwork:
		if len(v) > MaxName {
			return malformed("network name of %d bytes", len(v))
		}
		h.Network = printable(v)
	case fieldInstance:
		h.Instance = binary.BigEndian.Uint64(v)
	case fieldLimits:
		h.MaxMessage, h.RoutedWindow = binary.BigEndian.Uint32(v), min(binary.BigEndian.Uint32(v[4:]), MaxWindow)
	case fieldServices:
		services, err := ParseServices(v)
		h.Services = services
		return err
	case fieldSession:
		return h.session(v)
	case fieldResume:
		return h.resume(v)
	}
	return nil
}

func (h *Hello) session(v []byte) (err error) {
	if len(v) < sessionSize {
		return malformed("session of a hello has %d bytes", len(v))
	}
	if h.Session, err = durable.ParseOffer(v); err != nil {
		return malformed("session of a hello: %v", err)
	}
	h.Said, h.Renew = binary.BigEndian.Uint64(v[durable.OfferSize:]), v[durable.OfferSize+8]&1 != 0
	return nil
}

func (h *Hello) resume(v []byte) error {
	for len(v) > 0 && len(h.Resume) < MaxResume {
		o, err := durable.ParseOffer(v)
		if err != nil {
			return malformed("session to resume of a hello: %v", err)
		}
		h.Resume = append(h.Resume, o)
		v = v[durable.OfferSize:]
	}
	return nil
}

// ParseServices reads the body of a services frame.
func ParseServices(b []byte) ([]Service, error) {
	const fixed = 12
	var services []Service
	seen := make(map[identity.ServiceID]bool)
	for len(b) > 0 {
		if len(b) < fixed || int(b[11]) > len(b)-fixed || b[11] > MaxName {
			return nil, malformed("service table ends within an entry, or a name has more than %d bytes", MaxName)
		}
		s := Service{Window: min(binary.BigEndian.Uint32(b[6:]), MaxWindow), Private: b[10]&1 != 0}
		s.ID, s.Version = identity.ServiceID(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:])
		s.Name = printable(b[fixed : fixed+int(b[11])])
		if s.ID == 0 || seen[s.ID] || len(services) == MaxServices {
			return nil, malformed("service table has service %d twice, or the ID 0, or more than %d entries", s.ID, MaxServices)
		}
		seen[s.ID] = true
		services = append(services, s)
		b = b[fixed+int(b[11]):]
	}
	return services, nil
}
