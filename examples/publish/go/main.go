// Publishes a CloudEvent to NATS JetStream: go run . TYPE USER
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go run . TYPE USER")
	}
	if err := publish(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func publish(eventType, user string) error {
	event := cloudevents.NewEvent()
	event.SetID(uuid.NewString())
	event.SetType(eventType)
	event.SetSource("auth.example.com")
	event.SetSubject(user)
	event.SetTime(time.Now())
	if err := event.SetData(cloudevents.ApplicationJSON, map[string]string{"message": "User " + user}); err != nil {
		return err
	}
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}

	url := os.Getenv("NATS_URL")
	if url == "" {
		url = nats.DefaultURL
	}
	client, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer client.Close()
	stream, err := jetstream.New(client)
	if err != nil {
		return err
	}
	message := nats.NewMsg("user-operation")
	message.Header.Set("content-type", cloudevents.ApplicationCloudEventsJSON)
	message.Data = body
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// The stream has the event once this returns. The id lets it drop what is sent twice.
	stored, err := stream.PublishMsg(ctx, message, jetstream.WithMsgID(event.ID()))
	if err != nil {
		return err
	}
	fmt.Printf("stored as %s %d\n", stored.Stream, stored.Sequence)
	return nil
}
