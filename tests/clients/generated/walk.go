// A caller's walk with the Go client that openapi-generator makes. `walk <api>` prints each step.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	orders "orders_by_generator"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func assert(holds bool, found ...any) {
	if !holds {
		panic(fmt.Sprint(found...))
	}
}

func price(text string) orders.Price {
	return orders.Price{String: &text}
}

func item(sku string, quantity int32) orders.ItemBody {
	line := orders.NewItemBody(quantity)
	line.SetSku(sku)
	return *line
}

func main() {
	configuration := orders.NewConfiguration()
	configuration.Servers = orders.ServerConfigurations{{URL: os.Args[1]}}
	client := orders.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), orders.ContextAccessToken, "none")
	unique := strconv.FormatInt(time.Now().UnixNano(), 36)

	user, _, err := client.UsersAPI.RegisterUser(ctx).
		RegisterUserBody(*orders.NewRegisterUserBody("Ada", unique+"@example.org")).Execute()
	check(err)
	assert(user.Name == "Ada" && user.Version == 1, user)
	fmt.Println("registers a user")

	tea := orders.NewAddProductBody("tea-"+unique, "Tea", price("7.20"), "EUR")
	tea.SetStock(10)
	product, _, err := client.ProductsAPI.AddProduct(ctx).AddProductBody(*tea).Execute()
	check(err)
	assert(product.Price == "7.20" && product.GetStock() == 10 && product.InStock, product)
	pin := orders.NewAddProductBody("pin-"+unique, "Pin", price("0.01"), "EUR")
	pin.SetStock(5_000_000_000)
	many, _, err := client.ProductsAPI.AddProduct(ctx).AddProductBody(*pin).Execute()
	check(err)
	assert(many.GetStock() == 5_000_000_000, many)
	fmt.Println("adds a product")

	second := orders.NewItemBody(1)
	second.SetProductId(product.Id)
	body := orders.NewPlaceOrderBody(user.Id, []orders.ItemBody{item(product.Sku, 2), *second})
	order, answer, err := client.OrdersAPI.PlaceOrder(ctx).PlaceOrderBody(*body).IdempotencyKey("order-" + unique).Execute()
	check(err)
	assert(answer.StatusCode == 201 && order.Total == "21.60" && len(order.Items) == 2, order)
	fmt.Println("places an order with a key")

	token, err := strconv.ParseInt(answer.Header.Get("Sync-Token"), 10, 64)
	check(err)
	read, _, err := client.OrdersAPI.GetOrder(ctx, order.Id).SyncToken(token).Execute()
	check(err)
	assert(read.Id == order.Id && read.PlacedAt.Equal(order.PlacedAt), read)
	fmt.Println("reads the order that it has just placed")

	page(ctx, client)
	filter(ctx, client, user, order)
	beRefused(ctx, client, user, product)
	cancel(ctx, client, order)
}

func page(ctx context.Context, client *orders.APIClient) {
	pages, cursor := 0, ""
	for {
		asked := client.ProductsAPI.ListProducts(ctx).Limit(1).Sort("-sku")
		if cursor != "" {
			asked = asked.Cursor(cursor)
		}
		found, _, err := asked.Execute()
		check(err)
		pages += len(found.Data)
		if cursor = found.GetNext(); cursor == "" {
			break
		}
	}
	assert(pages >= 2, pages)
	fmt.Println("pages through a list")
}

func filter(ctx context.Context, client *orders.APIClient, user *orders.UserView, order *orders.OrderView) {
	later, _, err := client.OrdersAPI.ListOrders(ctx).UserId(user.Id).PlacedAtGt(order.PlacedAt.Add(time.Second)).Execute()
	check(err)
	since, _, err := client.OrdersAPI.ListOrders(ctx).UserId(user.Id).PlacedAtGte(order.PlacedAt).
		Status([]string{"placed", "cancelled"}).Execute()
	check(err)
	assert(len(later.Data) == 0 && len(since.Data) == 1, later, since)
	fmt.Println("filters by time")
}

func beRefused(ctx context.Context, client *orders.APIClient, user *orders.UserView, product *orders.ProductView) {
	body := orders.NewPlaceOrderBody(user.Id, []orders.ItemBody{item(product.Sku, 9)})
	_, answer, err := client.OrdersAPI.PlaceOrder(ctx).PlaceOrderBody(*body).Execute()
	var refused *orders.GenericOpenAPIError
	assert(errors.As(err, &refused), err)
	problem, ok := refused.Model().(orders.ProblemView)
	assert(ok && answer.StatusCode == 409 && problem.Code == "insufficient-stock", refused.Model())
	assert(problem.Lines[0].GetAvailable() == 7, problem)
	fmt.Println("meets a typed refusal that names the lines")
}

func cancel(ctx context.Context, client *orders.APIClient, order *orders.OrderView) {
	body := orders.NewCancelOrderBody()
	body.SetLines([]orders.CancelledLineBody{*orders.NewCancelledLineBody(2, 1)})
	part, _, err := client.OrdersAPI.CancelOrder(ctx, order.Id).CancelOrderBody(*body).Execute()
	check(err)
	assert(part.Status == "partially_cancelled" && part.Items[1].CancelledQuantity == 1, part)
	// Without a body this client sends null, which the API refuses.
	whole, _, err := client.OrdersAPI.CancelOrder(ctx, order.Id).CancelOrderBody(*orders.NewCancelOrderBody()).Execute()
	check(err)
	assert(whole.Status == "cancelled", whole)
	fmt.Println("cancels one line, then the rest")

	told, _, err := client.EventsAPI.ListEventsOfOrder(ctx, order.Id).Execute()
	check(err)
	assert(told.Data[0].OrderPlacedEvent.Data.Total == "21.60", told)
	assert(told.Data[1].OrderLinesCancelledEvent != nil && told.Data[1].OrderCancelledEvent == nil, told)
	assert(told.Data[2].OrderCancelledEvent.Data.CancelledTotalAfter == "21.60", told)
	fmt.Println("reads events by their types")
}
