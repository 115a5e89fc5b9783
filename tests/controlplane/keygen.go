package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
)

// writeKey writes a new private key, with which the API server signs ServiceAccounts' tokens. Python has no way to make
// one without a package or a program that not every machine has.
func writeKey(to io.Writer) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return pem.Encode(to, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}
