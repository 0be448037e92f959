//! `#[activity]` on functions, and `#[activities]` on `impl` blocks.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, ImplItem, ItemFn, ItemImpl, LitStr, Meta, Result, Visibility};

use crate::options::ActivityOptions;
use crate::signature::{Parts, parts};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options = ActivityOptions::parse(options)?;
    let function: ItemFn = syn::parse2(item)?;
    let found = parts(&function.sig, "ActivityContext", false)?;
    let ItemFn { attrs, vis, sig, block, .. } = &function;
    let (ident, parameters) = (&sig.ident, &sig.inputs);
    let definition = definition(attrs, vis, ident, &options, &found);
    let Parts { output, pattern, arguments, .. } = &found;
    Ok(quote! {
        #definition

        impl #ident {
            /// The activity's code itself.
            #[allow(clippy::unused_async)]
            #vis async fn call(#parameters) -> #output #block
        }

        impl ::stepwell::ActivityFn for #ident {
            async fn run(
                context: ::stepwell::ActivityContext,
                #pattern: Self::Input,
            ) -> ::core::result::Result<Self::Output, ::stepwell::ActivityError> {
                ::core::result::Result::map_err(
                    Self::call(context, #(#arguments),*).await,
                    ::core::convert::Into::into,
                )
            }
        }
    })
}

pub(crate) fn expand_impl(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !options.is_empty() {
        return Err(Error::new_spanned(options, "`#[activities]` takes no options; they go on the methods"));
    }
    let mut block: ItemImpl = syn::parse2(item)?;
    let mut definitions = Vec::new();
    let mut registrations = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        let Some(at) = method.attrs.iter().position(|attribute| attribute.path().is_ident("activity")) else {
            continue;
        };
        let attribute = method.attrs.remove(at);
        let options = ActivityOptions::parse(option_tokens(&attribute)?)?;
        let found = parts(&method.sig, "ActivityContext", true)?;
        let ident = &method.sig.ident;
        let docs: Vec<_> =
            method.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).cloned().collect();
        definitions.push(definition(&docs, &method.vis, ident, &options, &found));
        let Parts { pattern, arguments, .. } = &found;
        registrations.push(quote! {
            ::stepwell::ActivityCode::of_method::<#ident, Self, _, _>(
                &self,
                |this, context, #pattern: <#ident as ::stepwell::Activity>::Input| async move {
                    ::stepwell::__private::convert_error(this.#ident(context, #(#arguments),*).await)
                },
            )
        });
    }
    if definitions.is_empty() {
        return Err(Error::new_spanned(&block.self_ty, "no method of this block bears `#[activity(…)]`"));
    }
    let (generics, bounds) = (&block.generics, &block.generics.where_clause);
    let this = &block.self_ty;
    Ok(quote! {
        #block

        #(#definitions)*

        impl #generics ::stepwell::ActivitySet for #this #bounds {
            fn activities(self: ::std::sync::Arc<Self>) -> ::std::vec::Vec<::stepwell::ActivityCode> {
                ::std::vec![#(#registrations),*]
            }
        }
    })
}

fn definition(
    attrs: &[Attribute],
    vis: &Visibility,
    ident: &syn::Ident,
    options: &ActivityOptions,
    parts: &Parts,
) -> TokenStream {
    let name = options.name.clone().unwrap_or_else(|| LitStr::new(&ident.to_string(), ident.span()));
    let defaults = options.defaults();
    let Parts { input, output, .. } = parts;
    quote! {
        #(#attrs)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #vis struct #ident;

        impl ::stepwell::Activity for #ident {
            type Input = #input;
            type Output = <#output as ::stepwell::__private::Returned>::Value;
            const NAME: &'static str = #name;

            fn options() -> ::stepwell::ActivityDefaults {
                #defaults
            }
        }
    }
}

fn option_tokens(attribute: &Attribute) -> Result<TokenStream> {
    match &attribute.meta {
        Meta::Path(_) => Ok(TokenStream::new()),
        Meta::List(list) => Ok(list.tokens.clone()),
        Meta::NameValue(_) => Err(Error::new_spanned(attribute, "expected `#[activity(…)]`")),
    }
}
