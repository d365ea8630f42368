"""GET /products and /products/{id}."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import bindparam, not_

from contract.callers import scope
from contract.requests import StrictRoute
from contract.resources import ProductPage, ProductView
from query.database import Reads
from query.filters import Filter, ranges
from query.listing import Listing
from query.lookup import Lookup
from query.paging import Sort
from query.parameters import Flag, Money, Name, PageParameters, money_of, text_of
from query.routes import get
from query.single import Past, PastParameters, answer
from query.sync import Sync
from query.views import in_stock, product_view
from readmodel.shop import products


class ProductsParameters(PageParameters):
    sort: Literal["sku", "-sku", "name", "-name", "price", "-price"] = Field(
        "sku", description="`-` for descending; the id decides between equals"
    )
    sku: Name | None = Field(None, description="only the product with this SKU (case counts)")
    in_stock: Flag | None = Field(None, description="only products that can (not) be ordered as far as stock goes")
    discontinued: Flag | None = Field(None, description="only products that are no longer sold, or still are")
    price__gte: Money | None = Field(None, alias="price[gte]", description="at this price or more")
    price__gt: Money | None = Field(None, alias="price[gt]", description="at more than this price")
    price__lte: Money | None = Field(None, alias="price[lte]", description="at this price or less")
    price__lt: Money | None = Field(None, alias="price[lt]", description="at less than this price")


SORTS = {
    "sku": Sort(products.c.sku, text_of),
    "name": Sort(products.c.name, text_of),
    "price": Sort(products.c.price, money_of),
}

FILTERS = {
    "sku": Filter(products.c.sku == bindparam("sku", type_=products.c.sku.type)),
    "in_stock": Filter({True: in_stock(products), False: not_(in_stock(products))}),
    "discontinued": Filter({True: products.c.discontinued, False: not_(products.c.discontinued)}),
    **ranges(products.c.price),
}


def router(reads: Reads, sync: Sync, past: Past | None = None) -> APIRouter:
    routes = APIRouter(tags=["products"], route_class=StrictRoute)
    lookup = Lookup(reads, products, product_view(products))
    listing = Listing(reads, sync, products, product_view, sorts=SORTS, filters=FILTERS)

    @get(routes, "/products", answers=ProductPage, security=scope("products:read"), parameters=ProductsParameters)
    async def list_products(request: Request) -> Response:
        """Products, discontinued ones too, by SKU unless sorted otherwise."""
        return await listing.answer(request, ProductsParameters.of(request))

    @get(
        routes,
        "/products/{id}",
        answers=ProductView,
        security=scope("products:read"),
        parameters=PastParameters if past else None,
        versioned=True,
    )
    async def get_product(request: Request, id: str) -> Response:
        """One product."""
        return await answer(request, lookup, sync, id, past)

    return routes
